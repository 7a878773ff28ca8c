// The face tab: sliders for an expression, and a driving video for a clip.

import { Latest, Stage, openCamera, post, replaceUrl, report, snapshot, useCamera } from "./common.js";

// name -> label, limits, step, unit
const SLIDERS = {
  turn: ["Turn", -30, 30, 1, "°"], nod: ["Nod", -20, 20, 1, "°"], tilt: ["Tilt", -30, 30, 1, "°"],
  eyes: ["Eyes", -100, 100, 5, "%"], mouth: ["Mouth", 0, 100, 5, "%"], brows: ["Brows", -100, 100, 5, "%"],
  gaze_x: ["Look aside", -100, 100, 5, "%"], gaze_y: ["Look down", -100, 100, 5, "%"],
};
const GAZE = ["gaze_x", "gaze_y"]; // of models that see irises
const [RECORDED_S, LIVE_SIDE] = [4, 480];
const get = (id) => document.getElementById(id);
const inputs = {};
const stage = new Stage(get("face"), () => {
  live = false;
  enable(true);
  reset();
});
const results = new Latest(async ({ expression, final }, signal) => {
  await stage.attempt(async () => {
    const response = await post("/animate", { source: stage.id, expression, preview: final ? undefined : 1 }, signal);
    const blob = await response.blob();
    if (signal.aborted) return;
    await stage.show(blob, { final });
    if (final) stage.say(report(response).notes.join(". "));
  });
});
let clipStop = null;
let live = false; // whether the face follows the camera

function enable(on) {
  for (const element of [...Object.values(inputs), get("face-reset"), get("driving"), get("record"), get("live")]) element.disabled = !on;
}

function ask(final) {
  live = false;
  const shown = Object.entries(inputs).filter(([, input]) => !input.parentElement.hidden);
  const values = shown.map(([name, input]) => [name, SLIDERS[name][4] === "%" ? input.value / 100 : +input.value]);
  results.ask({ expression: JSON.stringify(Object.fromEntries(values)), final });
}

function reset() {
  results.drop();
  for (const input of Object.values(inputs)) {
    input.value = 0;
    input.dispatchEvent(new Event("reset"));
  }
  stage.show(null);
}

async function animate(driving) {
  live = false;
  clipStop = new AbortController();
  enable(false);
  get("stop").hidden = false;
  await stage.attempt(async () => {
    const response = await post("/animate", { source: stage.id, driving }, clipStop.signal);
    const blob = await response.blob();
    get("clip").src = replaceUrl(get("clip").src, blob);
    get("clip-save").href = get("clip").src;
    get("clip").hidden = get("clip-save").hidden = false;
    get("clip").play().catch(() => {}); // some browsers want a click first
  }, "Making the video, frame by frame…");
  get("stop").hidden = true;
  enable(true);
}

/** The face follows the camera until the button is pressed again. */
async function follow() {
  const stream = await openCamera();
  const video = document.createElement("video");
  Object.assign(video, { srcObject: stream, muted: true, playsInline: true });
  get("live").setAttribute("aria-pressed", "true");
  live = true;
  try {
    await video.play();
    for (let first = 1; live; ) {
      const frame = await snapshot(video, LIVE_SIDE, "image/jpeg");
      try {
        const blob = await (await post("/animate", { source: stage.id, frame, first })).blob();
        if (live) await stage.show(blob, { final: false });
        stage.say();
        first = 0;
      } catch (error) {
        stage.say(error.message, true);
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    }
  } finally {
    live = false;
    stream.getTracks().forEach((track) => track.stop());
    get("live").setAttribute("aria-pressed", "false");
  }
}

for (const [name, [label, low, high, step, unit]] of Object.entries(SLIDERS)) {
  const row = document.createElement("label");
  row.className = "slider";
  row.hidden = GAZE.includes(name);
  row.innerHTML = `<span>${label}</span><input type="range" id="slider-${name}" min="${low}" max="${high}" step="${step}" value="0"><output></output>`;
  const [, input, output] = row.children;
  const tell = () => { output.textContent = `${input.value}${unit}`; };
  input.addEventListener("input", () => { tell(); ask(false); });
  input.addEventListener("change", () => ask(true));
  input.addEventListener("reset", tell);
  tell();
  inputs[name] = input;
  get("sliders").append(row);
}
fetch("/models.json").then((response) => response.json()).then(({ face }) => {
  for (const name of GAZE) inputs[name].parentElement.hidden = !face.gaze;
}).catch(() => {}); // without an answer they stay hidden
get("face-reset").addEventListener("click", reset);
get("driving").addEventListener("change", (event) => event.target.files[0] && animate(event.target.files[0]));
get("stop").addEventListener("click", () => clipStop.abort());
get("live").addEventListener("click", () => {
  if (live) live = false;
  else follow().catch((error) => stage.say(error.message, true));
});
get("record").addEventListener("click", async () => {
  const taken = await useCamera(RECORDED_S).catch((error) => stage.say(error.message, true));
  if (taken) await animate(taken);
});
enable(false);
