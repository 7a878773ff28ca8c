// What all three tabs share: requests, the stage that shows an image and its result, and the camera.

/** Sends a form. Throws an Error with the server's one line and its hint. */
export async function post(path, fields, signal) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) if (value !== undefined) form.append(name, value);
  const response = await fetch(path, { method: "POST", body: form, signal });
  if (response.ok) return response;
  const { error, hint } = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
  throw new Error(hint ? `${error} (${hint})` : error);
}

/** What the server says about an image or video. */
export const report = (response) => JSON.parse(response.headers.get("Gfla-Report") || '{"notes": []}');

/** Runs one job at a time. Of those that come meanwhile only the newest is kept. */
export class Latest {
  constructor(work) {
    this.work = work;
  }

  async ask(job) {
    this.next = job;
    if (this.running) {
      if (this.running.final) this.stop.abort(); // a full result that is out of date
      return;
    }
    while (this.next) {
      [this.running, this.next] = [this.next, null];
      this.stop = new AbortController();
      await this.work(this.running, this.stop.signal).catch((error) => error.name === "AbortError" || console.warn(error));
    }
    this.running = null;
  }

  drop() {
    this.next = null;
    this.stop?.abort();
  }
}

/** The place of one tab: asks for a photograph, shows it, and the result over it. */
export class Stage {
  constructor(section, onPhoto) {
    const copy = document.getElementById("stage").content.cloneNode(true);
    section.prepend(copy);
    this.root = section.querySelector(".stage");
    this.onPhoto = onPhoto;
    this.canvas = this.find(".canvas");
    this.before = this.find(".before");
    this.after = this.find(".after");
    this.compare = this.find(".compare input");
    this.save = this.find(".save");
    this.find(".drop p").textContent = `Drop ${section.dataset.wants} here`;
    const input = this.find(".drop input");
    input.addEventListener("change", () => input.files[0] && this.load(input.files[0]));
    this.find(".camera").addEventListener("click", () => this.attempt(async () => {
      const taken = await useCamera();
      if (taken) await this.load(taken);
    }));
    this.find(".other").addEventListener("click", () => input.click());
    this.compare.addEventListener("input", () => this.cover());
    takeDrops(this.root, (file) => this.load(file));
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  say(text = "", wrong = false) {
    const status = this.find(".status");
    status.textContent = text;
    status.classList.toggle("wrong", wrong);
  }

  /** Runs a step, shows that it runs, and what went wrong. */
  async attempt(step, text) {
    this.root.classList.add("busy");
    if (text) this.say(text);
    try {
      const result = await step();
      if (this.find(".status").textContent === text) this.say();
      return result;
    } catch (error) {
      if (error.name !== "AbortError") this.say(error.message, true);
      return null;
    } finally {
      this.root.classList.remove("busy");
    }
  }

  async load(file) {
    this.file = file;
    await this.attempt(async () => {
      const { id } = await (await post("/uploads", { file })).json();
      this.id = id;
      this.show(null);
      this.before.src = replaceUrl(this.before.src, file);
      await this.before.decode().catch(() => { throw new Error(`${file.name}: the browser cannot show this file`); });
      for (const [part, hidden] of [[".drop", true], [".canvas", false], [".below", false]]) this.find(part).hidden = hidden;
      await this.onPhoto(id);
    }, "Looking at the photograph…");
  }

  /** Shows a result over the photograph; `alone` instead of it. `final`: it can be downloaded. */
  async show(blob, { final = true, alone = false } = {}) {
    this.canvas.classList.toggle("alone", Boolean(blob) && alone);
    this.find(".compare").hidden = alone;
    if (blob) {
      const image = new Image();
      image.src = URL.createObjectURL(blob);
      await image.decode();
      const old = this.after.src;
      this.after.src = image.src;
      if (old) URL.revokeObjectURL(old);
      if (final) {
        this.save.href = image.src;
        this.save.download = `${this.file.name.replace(/\.[^.]*$/, "")}-gfla.png`;
      }
    }
    this.after.hidden = !blob;
    this.save.hidden = !(blob && final);
    this.compare.disabled = !blob;
    this.cover();
  }

  cover() {
    const percent = this.after.hidden || this.canvas.classList.contains("alone") ? 0 : Number(this.compare.value);
    const edge = this.find(".edge");
    this.after.style.clipPath = percent ? `inset(0 0 0 ${percent}%)` : "";
    edge.hidden = percent === 0 || percent === 100;
    edge.style.left = `${percent}%`;
  }
}

export function replaceUrl(old, blob) {
  if (old.startsWith("blob:")) URL.revokeObjectURL(old);
  return URL.createObjectURL(blob);
}

/** Calls `take` with the file that is dropped on an element. */
export function takeDrops(element, take) {
  const over = (on) => element.classList.toggle("over", on);
  element.addEventListener("dragover", (event) => { event.preventDefault(); over(true); });
  element.addEventListener("dragleave", () => over(false));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
}

/** The camera's stream. Throws when there is none, or the user says no. */
export async function openCamera() {
  if (!navigator.mediaDevices) throw new Error("the browser gives no camera to this page");
  return navigator.mediaDevices.getUserMedia({ video: true }).catch((error) => {
    throw new Error(`no camera: ${error.message}`);
  });
}

/** A photograph from the camera, or a video of `seconds`; null when the user cancels. */
export async function useCamera(seconds = 0) {
  const stream = await openCamera();
  const dialog = document.getElementById("camera");
  const [video, take] = [dialog.querySelector("video"), dialog.querySelector(".primary")];
  video.srcObject = stream;
  take.disabled = false;
  take.textContent = seconds ? `Record ${seconds} seconds` : "Take";
  dialog.showModal();
  try {
    await video.play();
    return await new Promise((resolve, reject) => {
      dialog.onclose = () => resolve(null);
      dialog.querySelector(".cancel").onclick = () => dialog.close();
      take.onclick = () => {
        take.disabled = true;
        (seconds ? recorded(stream, seconds) : snapshot(video)).then(resolve, reject);
      };
    });
  } finally {
    stream.getTracks().forEach((track) => track.stop());
    dialog.onclose = null;
    dialog.close();
  }
}

/** What a video shows now, as a file; `longest`: pixels of its longer side. */
export async function snapshot(video, longest = Infinity, type = "image/png") {
  const scale = Math.min(1, longest / Math.max(video.videoWidth, video.videoHeight));
  const canvas = new OffscreenCanvas(Math.round(scale * video.videoWidth), Math.round(scale * video.videoHeight));
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new File([await canvas.convertToBlob({ type })], `camera.${type.slice(6)}`);
}

function recorded(stream, seconds) {
  return new Promise((resolve, reject) => {
    const recorder = new MediaRecorder(stream);
    const parts = [];
    recorder.ondataavailable = ({ data }) => parts.push(data);
    recorder.onerror = reject;
    recorder.onstop = () => {
      resolve(new File(parts, recorder.mimeType.includes("mp4") ? "camera.mp4" : "camera.webm"));
    };
    recorder.start();
    setTimeout(() => recorder.stop(), 1000 * seconds);
  });
}
