
"use strict";
/* What the page knows: the study it carries, and how far this browser's rater has come, through reloads. */

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
    // nothing stored, or a browser that stores nothing
  }
  return newRater();
}

/** False where the browser stores nothing: private windows, some phones' file viewers. */
function remember() {
  try {
    localStorage.setItem(STORE, JSON.stringify(memory));
    return true;
  } catch {
    return false;
  }
}
