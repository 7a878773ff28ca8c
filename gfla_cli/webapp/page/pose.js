// The pose tab: a photograph, its skeleton, and the person who follows it.

import { Latest, Stage, post, report, takeDrops } from "./common.js";
import { Skeleton, stickFigure } from "./skeleton.js";

const get = (id) => document.getElementById(id);
const stage = new Stage(get("pose"), findPose);
const skeleton = new Skeleton(stage.find(".skeleton"), (final) => {
  tools(true);
  results.ask({ pose: skeleton.json(), final });
});
const results = new Latest(async ({ pose, final }, signal) => {
  const fields = { source: stage.id, pose, placed: 1, background: get("background").value, preview: final ? undefined : 1 };
  await stage.attempt(async () => {
    const response = await post("/pose-transfer", fields, signal);
    const blob = await response.blob();
    if (signal.aborted) return;
    await stage.show(blob, { final });
    if (final) stage.say(report(response).notes.join(". "));
  });
});
let own = null; // the photograph's own pose

function tools(on) {
  for (const id of ["mirror", "reset", "copy", "nearer", "farther"]) get(id).disabled = !on;
  get("undo").disabled = !skeleton.history.length;
  for (const button of get("poses").children) button.disabled = !on;
  get("pose-file").disabled = !on;
}

async function findPose(id) {
  results.drop();
  skeleton.clear();
  tools(false);
  own = await (await post("/detect", { source: id })).json();
  skeleton.set(own, { remember: false, size: own.size });
  tools(true);
}

/** Takes the pose of a file, or one as JSON, at the size and place of the person. */
async function takePose(source) {
  const pose = await stage.attempt(
    async () => (await post("/detect", { source, onto: stage.id })).json(), "Fitting the pose…",
  );
  if (!pose) return;
  skeleton.set(pose);
  tools(true);
  results.ask({ pose: skeleton.json(), final: true });
}

function reset() {
  results.drop();
  skeleton.set(own);
  tools(true);
  stage.show(null);
}

async function copy() {
  try {
    await navigator.clipboard.writeText(skeleton.json());
    stage.say("The pose is copied. Save it as pose.json for gfla pose-transfer --pose pose.json");
  } catch {
    stage.say("The browser does not let this page copy", true);
  }
}

get("undo").addEventListener("click", () => skeleton.undo());
get("mirror").addEventListener("click", () => skeleton.mirror());
get("reset").addEventListener("click", reset);
get("copy").addEventListener("click", copy);
for (const [id, share] of [["nearer", -0.1], ["farther", 0.1]]) {
  get(id).addEventListener("click", () => {
    if (skeleton.selected === null) stage.say("Choose a joint first: touch it, or go to it with Tab");
    else skeleton.step(() => skeleton.deepen(skeleton.selected, share));
  });
}
get("lengths").addEventListener("change", (event) => { skeleton.keepLengths = event.target.checked; });
get("show").addEventListener("change", (event) => { skeleton.svg.style.display = event.target.checked ? "" : "none"; });
get("background").addEventListener("change", () => {
  if (!stage.after.hidden) results.ask({ pose: skeleton.json(), final: true });
});
get("pose-file").addEventListener("change", (event) => event.target.files[0] && takePose(event.target.files[0]));
takeDrops(get("pose").querySelector("aside"), (file) => stage.id && takePose(file));
document.addEventListener("keydown", (event) => {
  if (get("pose").hidden || !skeleton.pose || event.target.matches("input:not([type=checkbox])")) return;
  if ((event.ctrlKey || event.metaKey) && event.key === "z") {
    event.preventDefault();
    skeleton.undo();
    tools(true);
  }
});

for (const pose of await (await fetch("/page/poses.json")).json()) {
  const button = document.createElement("button");
  button.title = pose.name;
  button.setAttribute("aria-label", `Pose: ${pose.name}`);
  const there = pose.points.filter((point) => point[2] > 0);
  const left = (Math.min(...there.map(([x]) => x)) + Math.max(...there.map(([x]) => x))) / 2 - 150;
  const face = [0, 14, 15, 16, 17].map((joint) => pose.points[joint]).filter((point) => point[2] > 0);
  const [x, y] = [0, 1].map((axis) => face.reduce((sum, point) => sum + point[axis], 0) / face.length);
  const body = { points: pose.points.map((point, joint) => (joint > 13 ? [0, 0, 0] : point)) };
  button.innerHTML = `<svg viewBox="${left} -5 300 400" aria-hidden="true"><path d="${stickFigure(body)}"/>`
    + `<circle cx="${x}" cy="${y}" r="24"/></svg>`;
  button.addEventListener("click", () => takePose(JSON.stringify(pose)));
  get("poses").append(button);
}
tools(false);
