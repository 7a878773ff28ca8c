
"use strict";
/* The rater's page: welcome, practice, trials, and the results as a file or, when gfla serves the page, sent to it. */

const BLANK_MS = 350; // blank between two pairs, which prevents comparison by flicker
const MARK_MS = 180; // how long the choice stays marked
const HASTY_MS = 150; // a faster answer belongs to the previous pair

const sides = { left: get("left"), right: get("right") };

let plan = [];
let current = null; // the trial on the screen: { ..., since }
let turn = 0; // counts the pairs shown; events of an older pair are ignored
let timer = 0;
let served = false; // whether gfla study serve is listening

function show(name) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
  get(name).querySelector("h1").focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

// ---- welcome ----

async function offeredSitting() {
  const open = Array.from({ length: study.sittings }, (_, index) => index + 1).filter((n) => !memory.done.includes(n));
  const wanted = Number.parseInt(location.hash.slice(1), 10);
  if (open.includes(wanted)) return wanted;
  const answer = served ? await askServer("sitting") : null;
  if (open.includes(answer?.sitting)) return answer.sitting;
  return open.length ? open[Math.floor(Math.random() * open.length)] : 1;
}

/** The answer of gfla study serve, or null if the page comes from elsewhere. */
async function askServer(what) {
  if (!location.protocol.startsWith("http")) return null;
  try {
    const response = await fetch(what, { cache: "no-store" });
    const answer = await response.json();
    return response.ok && answer.study === study.id ? answer : null;
  } catch {
    return null;
  }
}

async function welcome() {
  get("kept").hidden = canRemember();
  if (served) get("private").textContent = "Your answers go to the people who run this study. Your name is not recorded.";
  const session = memory.session;
  get("timing").textContent = study.seconds
    ? `They are shown for ${study.seconds === 1 ? "one second" : `${study.seconds} seconds`}. Then take your time.`
    : "Take all the time you need.";
  get("sittings").textContent = `of ${study.sittings}`;
  get("sitting").max = study.sittings;
  get("numbers").hidden = study.sittings === 1 || Boolean(session);
  get("sitting").value = session ? session.sitting : await offeredSitting();
  const length = planSitting(study, Number(get("sitting").value)).length;
  const practice = memory.practised < study.practice ? `, after ${study.practice} for practice` : "";
  get("length").textContent = session
    ? `Welcome back: ${session.answers.length} of ${length} pairs are done.`
    : `${length} pairs${practice}: about ${Math.max(1, Math.round((length * (study.seconds + 3)) / 60))}\u00a0min.`;
  get("begin").textContent = session ? "Go on" : "Begin";
  show("welcome");
}

function begin() {
  if (!memory.session) {
    const wanted = Math.round(Number(get("sitting").value)) || 1;
    const sitting = Math.min(Math.max(1, wanted), study.sittings);
    memory.session = { id: newId(), sitting, started: new Date().toISOString(), answers: [], finished: null };
    remember();
  }
  plan = planSitting(study, memory.session.sitting);
  advance();
}

// ---- trials ----

function advance() {
  const done = memory.session.answers.length;
  if (memory.practised < study.practice) present(planPractice(study)[memory.practised]);
  else if (done < plan.length) present(plan[done]);
  else finish();
}

async function present(trial) {
  const practice = trial.kind === "practice";
  const [name, versions] = { pair: key.pairs, catch: key.catch, practice: key.practice }[trial.kind][trial.pair];
  const [real, generated] = versions[trial.model];
  const number = practice ? trial.pair + 1 : memory.session.answers.length + 1;
  const total = practice ? study.practice : plan.length;
  current = null;
  clearTimeout(timer);
  const mine = ++turn;
  get("stage").dataset.phase = "wait";
  get("verdict").textContent = "";
  get("next").hidden = true;
  get("progress").max = total;
  get("progress").value = number - 1;
  get("count").textContent = `${practice ? "Practice " : ""}${number} / ${total}`;
  if (get("trial").hidden) show("trial");
  nameSides();
  const images = Object.entries(sides).map(([side, button]) => {
    delete button.dataset.chosen;
    delete button.dataset.real;
    const image = button.querySelector("img");
    image.src = get(`p${side === trial.real ? real : generated}`).textContent;
    return image;
  });
  const blank = new Promise((resolve) => setTimeout(resolve, BLANK_MS));
  await Promise.all([blank, ...images.map((image) => image.decode().catch(() => undefined))]);
  if (mine !== turn) return; // stopped meanwhile
  get("stage").style.setProperty("--ratio", images[0].naturalWidth / images[0].naturalHeight || 1);
  get("stage").dataset.phase = "shown";
  get("spoken").textContent = `${practice ? "Practice pair" : "Pair"} ${number} of ${total}`;
  current = { ...trial, name, since: performance.now() };
  if (study.seconds) timer = setTimeout(() => (get("stage").dataset.phase = "covered"), study.seconds * 1000);
}

/** Name of a side: on narrow portrait screens page.css puts one image above the other. */
function word(side) {
  const upright = matchMedia("(orientation: portrait) and (max-width: 40rem)").matches;
  return upright ? { left: "upper", right: "lower" }[side] : side;
}

function nameSides() {
  for (const [side, button] of Object.entries(sides)) {
    const name = word(side).replace(/^./, (letter) => letter.toUpperCase());
    button.setAttribute("aria-label", `${name} image`);
    button.querySelector(".name").textContent = name;
  }
}

function choose(side) {
  if (!current || performance.now() - current.since < HASTY_MS) return;
  clearTimeout(timer);
  const { kind, name, model, real, since } = current;
  current = null;
  sides[side].dataset.chosen = "";
  if (kind === "practice") {
    explain(side === real, real);
    return;
  }
  memory.session.answers.push({
    kind,
    picture: name,
    model: kind === "pair" ? key.models[model] : "",
    real,
    chosen: side,
    ms: Math.round(performance.now() - since),
  });
  remember();
  get("progress").value += 1;
  timer = setTimeout(advance, MARK_MS);
}

function explain(right, real) {
  delete sides.left.dataset.chosen;
  delete sides.right.dataset.chosen;
  sides[real].dataset.real = "";
  get("stage").dataset.phase = "told";
  get("progress").value += 1;
  get("verdict").textContent = right ? "Yes, that one is real." : `The ${word(real)} one is real.`;
  memory.practised += 1;
  remember();
  get("next").hidden = false;
  get("next").focus();
}

function afterPractice() {
  if (memory.practised < study.practice) advance();
  else show("ready");
}

// ---- the end ----

function isComplete() {
  return memory.session.answers.length === plan.length;
}

function results() {
  const { id, sitting, started, answers, finished } = memory.session;
  return {
    format: "gfla-study-result",
    version: 1,
    study: study.id,
    session: id,
    rater: memory.rater,
    sitting,
    started,
    finished,
    complete: isComplete(),
    answers,
  };
}

function finish() {
  clearTimeout(timer);
  turn += 1;
  current = null;
  const session = memory.session;
  const complete = isComplete();
  session.finished ??= new Date().toISOString();
  if (complete && !memory.done.includes(session.sitting)) memory.done.push(session.sitting);
  remember();
  offerFile(`${JSON.stringify(results(), null, 1)}\n`);
  get("end-title").textContent = complete ? "Thank you." : "Stopped for now.";
  get("summary").textContent = complete
    ? `You compared ${plan.length} pairs.`
    : `You compared ${session.answers.length} of ${plan.length} pairs.`;
  get("delivery").textContent = "Save the results and send the file to the person who invited you.";
  get("resume").hidden = complete;
  get("save").classList.toggle("primary", complete);
  get("save").textContent = "Save the results";
  get("more").hidden = !complete;
  get("again").hidden = memory.done.length >= study.sittings;
  show("end");
  if (served && session.answers.length) deliver();
}

function offerFile(text) {
  const name = `study-${study.id}-${memory.session.id.slice(0, 8)}.json`;
  const file = new File([text], name, { type: "application/json" });
  URL.revokeObjectURL(get("save").href);
  get("save").href = URL.createObjectURL(file);
  get("save").download = name;
  get("text").value = text;
  get("share").hidden = !navigator.canShare?.({ files: [file] });
  get("share").onclick = () => navigator.share({ files: [file] }).catch(() => undefined);
}

async function deliver() {
  get("retry").hidden = true;
  get("delivery").textContent = "Sending your answers…";
  let arrived = false;
  try {
    const headers = { "Content-Type": "application/json" };
    const response = await fetch("results", { method: "POST", headers, body: JSON.stringify(results()) });
    arrived = response.ok;
  } catch {
    // shown below
  }
  get("delivery").textContent = arrived
    ? "Your answers have arrived. You may close the page."
    : "Your answers could not be sent. Try again, or save them and send the file.";
  get("retry").hidden = arrived;
  if (arrived) get("save").classList.remove("primary");
  if (arrived) get("save").textContent = "Save a copy";
}

function goOn() {
  memory.session.finished = null;
  remember();
  advance();
}

function startOver(otherPerson) {
  if (otherPerson) memory = newRater();
  memory.session = null;
  remember();
  welcome();
}

// ---- wiring ----

const KEYS = { ArrowLeft: "left", a: "left", A: "left", ArrowRight: "right", l: "right", L: "right" };
addEventListener("resize", nameSides); // a phone was turned
document.addEventListener("keydown", (event) => {
  const side = KEYS[event.key];
  if (!side || event.repeat || event.ctrlKey || event.metaKey || event.altKey || get("trial").hidden) return;
  event.preventDefault();
  choose(side);
});
for (const [side, button] of Object.entries(sides)) button.addEventListener("click", () => choose(side));
get("begin").addEventListener("click", begin);
get("go").addEventListener("click", advance);
get("next").addEventListener("click", afterPractice);
get("stop").addEventListener("click", finish);
get("retry").addEventListener("click", deliver);
get("resume").addEventListener("click", goOn);
get("again").addEventListener("click", () => startOver(false));
get("other").addEventListener("click", () => startOver(true));
get("text").addEventListener("focus", () => get("text").select());

askServer("study").then((answer) => {
  served = answer !== null;
  get("stage").style.setProperty("--ratio", study.ratio);
  if (!memory.session?.finished) return welcome();
  plan = planSitting(study, memory.session.sitting);
  return finish();
});
