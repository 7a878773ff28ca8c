// The object tab: a ring around the object. All views of one elevation come in one image.

import { Stage, post, report } from "./common.js";

const [STEP, COLUMNS, ROWS, RADIUS] = [20, 6, 3, 46];
const get = (id) => document.getElementById(id);
const [ring, elevation] = [get("ring"), get("elevation")];
const stage = new Stage(get("object"), async () => {
  sheets = {};
  await load(null);
});
let sheets = {}; // elevation -> image of 18 views in rows of six
let azimuth = 0;

/** Renders the views of an elevation; null: that of the photograph, which also says where the ring begins. */
async function load(height) {
  const fields = { source: stage.id, output: "grid", elevation: height ?? undefined };
  const response = await post("/view-synthesis", fields);
  const about = report(response);
  const key = height ?? Math.round(about.source_elevation / 10) * 10;
  sheets[key] = await createImageBitmap(await response.blob());
  if (height === null) {
    elevation.value = key;
    azimuth = (Math.round(about.source_azimuth / STEP) * STEP) % 360;
  }
  elevation.disabled = get("turntable").disabled = false;
  ring.setAttribute("aria-disabled", "false");
  stage.say(about.notes.join(". "));
  await draw();
}

async function draw() {
  const angle = (azimuth / 180) * Math.PI;
  // The front of the object is at the bottom of the ring, its left side at the right.
  get("knob").setAttribute("cx", RADIUS * Math.sin(angle));
  get("knob").setAttribute("cy", RADIUS * Math.cos(angle));
  ring.setAttribute("aria-valuenow", azimuth);
  ring.setAttribute("aria-valuetext", `${azimuth} degrees`);
  elevation.nextElementSibling.textContent = `${elevation.value}°`;
  const sheet = sheets[elevation.value];
  if (!sheet) return;
  const [width, height, tile] = [sheet.width / COLUMNS, sheet.height / ROWS, azimuth / STEP];
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").drawImage(sheet, -(tile % COLUMNS) * width, -Math.floor(tile / COLUMNS) * height);
  await stage.show(await canvas.convertToBlob(), { alone: true });
}

function turn(to) {
  if (ring.getAttribute("aria-disabled") === "true") return;
  azimuth = (Math.round(to / STEP) * STEP + 360) % 360;
  draw();
}

function follow(event) {
  if (event.type === "pointermove" && !ring.hasPointerCapture(event.pointerId)) return;
  if (event.type === "pointerdown") ring.setPointerCapture(event.pointerId);
  const box = ring.getBoundingClientRect();
  turn((Math.atan2(event.clientX - box.x - box.width / 2, event.clientY - box.y - box.height / 2) / Math.PI) * 180);
}

for (const kind of ["pointerdown", "pointermove"]) ring.addEventListener(kind, follow);
ring.addEventListener("keydown", (event) => {
  const way = { ArrowRight: STEP, ArrowUp: STEP, ArrowLeft: -STEP, ArrowDown: -STEP }[event.key];
  if (!way) return;
  event.preventDefault();
  turn(azimuth + way);
});
elevation.addEventListener("input", () => {
  if (sheets[elevation.value]) draw();
  else stage.attempt(() => load(Number(elevation.value)), "Rendering the views…");
});
get("turntable").addEventListener("click", () => stage.attempt(async () => {
  const fields = { source: stage.id, output: "turntable", elevation: elevation.value };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await (await post("/view-synthesis", fields)).blob());
  link.download = "turntable.mp4";
  link.click();
}, "Making the video…"));
draw();
