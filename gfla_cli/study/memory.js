
"use strict";
/* The study of this page, and the rater's progress, which survives reloads. */

const get = (id) => document.getElementById(id);
const study = JSON.parse(get("study").textContent);
const key = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(get("key").textContent), (c) => c.charCodeAt(0))));
const STORE = `gfla-study-${study.id}`;

/** { rater, done: [sittings], practised, session }; session: { id, sitting, started, answers, finished } or null. */
let memory = remembered();

function newRater() {
  return { rater: newId(), done: [], practised: 0, session: null };
}

function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function remembered() {
  try {
    const found = JSON.parse(localStorage.getItem(STORE));
    const session = found.session;
    if (session && !(session.sitting >= 1 && session.sitting <= study.sittings)) found.session = null;
    if (found.rater && Array.isArray(found.done)) return found;
  } catch {
    // nothing is stored, or the browser does not store anything
  }
  return newRater();
}

/** False if the browser does not store anything: private windows, file viewers of some phones. */
function canRemember() {
  // Another key than the progress: a second tab of the study may be ahead of this one.
  try {
    localStorage.setItem(`${STORE}-test`, "");
    localStorage.removeItem(`${STORE}-test`);
    return true;
  } catch {
    return false;
  }
}

function remember() {
  try {
    localStorage.setItem(STORE, JSON.stringify(memory));
  } catch {
    // canRemember has told the rater
  }
}
