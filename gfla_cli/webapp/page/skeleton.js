// A pose as a skeleton that can be dragged. Poses are those of our own files: points, size, and depths where known.

export const LIMBS = [
  [1, 2], [1, 5], [2, 3], [3, 4], [5, 6], [6, 7], [1, 8], [8, 9], [9, 10], [1, 11], [11, 12], [12, 13],
  [1, 0], [0, 14], [14, 16], [0, 15], [15, 17],
];
const NAMES = [
  "nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist", "right hip",
  "right knee", "right ankle", "left hip", "left knee", "left ankle", "right eye", "left eye", "right ear", "left ear",
];
const MIRRORED = [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16];
const PARENT = Object.fromEntries(LIMBS.map(([parent, child]) => [child, parent]));
const ENDS = [4, 7, 10, 13]; // wrists and ankles: the joint before bends
const MOST_DEPTH = 0.98; // of a bone's length
const SVG = "http://www.w3.org/2000/svg";
const side = (joint) => NAMES[joint].match(/^(right|left)/)?.[0] ?? "middle";

/** The path of a pose as a stick figure. */
export const stickFigure = ({ points }) => LIMBS.filter(([a, b]) => points[a][2] > 0 && points[b][2] > 0)
  .map(([a, b]) => `M${points[a].slice(0, 2)} L${points[b].slice(0, 2)}`).join("");

export class Skeleton {
  /** `onChange(final)` is called while something is dragged, and with true when it is let go. */
  constructor(svg, onChange) {
    this.svg = svg;
    this.onChange = onChange;
    this.keepLengths = true;
    this.history = [];
    this.selected = null;
    svg.addEventListener("pointerdown", (event) => this.press(event));
    // `touch-action` in the style sheet does not reach the inside of an SVG everywhere: a drag would scroll the page.
    svg.addEventListener("touchstart", (event) => this.held && event.preventDefault(), { passive: false });
    svg.addEventListener("pointermove", (event) => this.drag(event));
    for (const kind of ["pointerup", "pointercancel"]) svg.addEventListener(kind, () => this.release());
    svg.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    svg.addEventListener("keydown", (event) => this.key(event));
    svg.addEventListener("focusin", (event) => { this.selected = Number(event.target.dataset.joint); });
  }

  /** Shows a pose in an image of `size` (height, width). `remember`: undo leads back to the one before. */
  set(pose, { remember = true, size = this.size } = {}) {
    if (remember && this.pose) this.remember();
    this.pose = structuredClone(pose);
    this.size = size;
    this.svg.setAttribute("viewBox", `0 0 ${size[1]} ${size[0]}`);
    this.build();
  }

  clear() {
    this.pose = null;
    this.history = [];
    this.svg.replaceChildren();
  }

  json() {
    const points = this.pose.points.map((point) => point.map((value) => Math.round(value * 100) / 100));
    const depths = this.pose.depths?.map((value) => Math.round(value * 100) / 100);
    return JSON.stringify({ format: "gfla-pose", version: 1, size: this.pose.size, points, depths });
  }

  remember() {
    this.history.push(structuredClone(this.pose));
    this.history = this.history.slice(-100);
  }

  undo() {
    if (!this.history.length) return;
    this.set(this.history.pop(), { remember: false });
    this.onChange(true);
  }

  mirror() {
    this.remember();
    const { points, depths } = this.pose;
    const there = points.filter((point) => point[2] > 0).map((point) => point[0]);
    const axis = Math.min(...there) + Math.max(...there);
    this.pose.points = MIRRORED.map((joint) => {
      const [x, y, confidence] = points[joint];
      return confidence > 0 ? [axis - x, y, confidence] : [-1, -1, 0];
    });
    if (depths) this.pose.depths = MIRRORED.map((joint) => depths[joint]);
    this.build();
    this.onChange(true);
  }

  // The body as a tree.

  has(joint) {
    return this.pose.points[joint][2] > 0;
  }

  parent(joint) {
    let parent = PARENT[joint];
    while (parent !== undefined && !this.has(parent)) parent = PARENT[parent];
    return parent;
  }

  /** A joint and all that hang on it. */
  below(joint) {
    return NAMES.map((_, other) => other).filter((other) => {
      for (let one = other; one !== undefined; one = PARENT[one]) if (one === joint) return this.has(other);
      return false;
    });
  }

  shift(joints, dx, dy, dz = 0) {
    for (const joint of joints) {
      const point = this.pose.points[joint];
      [point[0], point[1]] = [point[0] + dx, point[1] + dy];
      if (dz) this.pose.depths[joint] += dz;
    }
  }

  rotate(joints, centre, angle) {
    const [x, y] = this.pose.points[centre];
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    for (const joint of joints) {
      const point = this.pose.points[joint];
      const [dx, dy] = [point[0] - x, point[1] - y];
      [point[0], point[1]] = [x + cos * dx - sin * dy, y + sin * dx + cos * dy];
    }
  }

  /** Moves a joint towards a place. */
  move(joint, x, y) {
    const { points } = this.pose;
    const [fromX, fromY] = points[joint];
    const parent = this.parent(joint);
    if (!this.keepLengths) return this.shift([joint], x - fromX, y - fromY);
    if (parent === undefined) return this.shift(joint === 1 ? this.below(1) : [joint], x - fromX, y - fromY);
    const [px, py] = points[parent];
    const angle = Math.atan2(y - py, x - px) - Math.atan2(fromY - py, fromX - px);
    if (joint === 0) return this.rotate(this.below(0), parent, angle);
    const root = this.parent(parent);
    if (ENDS.includes(joint) && parent === PARENT[joint] && root === PARENT[parent]) return this.bend(root, parent, joint, x, y);
    const length = Math.hypot(fromX - px, fromY - py);
    const away = Math.hypot(x - px, y - py) || 1;
    this.shift(this.below(joint), px + ((x - px) * length) / away - fromX, py + ((y - py) * length) / away - fromY);
  }

  /** Brings the end of a limb of two bones to a place; the joint between them bends to the side that it bends to now. */
  bend(root, middle, end, x, y) {
    const [r, m, e] = [root, middle, end].map((joint) => this.pose.points[joint]);
    const [upper, lower] = [Math.hypot(m[0] - r[0], m[1] - r[1]), Math.hypot(e[0] - m[0], e[1] - m[1])];
    const bent = Math.sign((m[0] - r[0]) * (e[1] - r[1]) - (m[1] - r[1]) * (e[0] - r[0])) || 1;
    const wanted = Math.hypot(x - r[0], y - r[1]) || 1e-6;
    const reach = Math.min(Math.max(wanted, Math.abs(upper - lower)), upper + lower);
    const cosine = (upper ** 2 + reach ** 2 - lower ** 2) / (2 * upper * reach || 1e-6);
    const direction = Math.atan2(y - r[1], x - r[0]);
    const angle = direction - bent * Math.acos(Math.min(Math.max(cosine, -1), 1));
    [m[0], m[1]] = [r[0] + upper * Math.cos(angle), r[1] + upper * Math.sin(angle)];
    [e[0], e[1]] = [r[0] + reach * Math.cos(direction), r[1] + reach * Math.sin(direction)];
  }

  /** Turns a whole limb around the shoulder, the hip or the neck; bones of the trunk move the body. */
  swing([a, b], from, to) {
    const trunk = a === 1 && b !== 0;
    if (trunk) return this.shift(this.below(1), to[0] - from[0], to[1] - from[1]);
    const root = [2, 5, 8, 11].find((joint) => joint === a || this.below(joint).includes(a)) ?? 1;
    const [x, y] = this.pose.points[root];
    const angle = Math.atan2(to[1] - y, to[0] - x) - Math.atan2(from[1] - y, from[0] - x);
    const moving = root === 1 ? this.below(0) : this.below(root).filter((joint) => joint !== root);
    this.rotate(moving, root, angle);
  }

  /** Brings a joint nearer (< 0) or farther, by a share of its bone; the bone then looks shorter or longer. */
  deepen(joint, share) {
    const parent = this.parent(joint);
    if (joint === null || parent === undefined) return;
    this.pose.depths ??= NAMES.map(() => 0);
    const { points, depths } = this.pose;
    const [dx, dy] = [points[joint][0] - points[parent][0], points[joint][1] - points[parent][1]];
    const flat = Math.hypot(dx, dy);
    const now = depths[joint] - depths[parent];
    const length = Math.hypot(flat, now) || 1;
    if (!this.keepLengths) return this.shift([joint], 0, 0, share * length);
    const limit = MOST_DEPTH * length;
    const next = Math.min(Math.max(now + share * length, -limit), limit);
    const grown = Math.sqrt(length ** 2 - next ** 2) / Math.max(flat, 1e-6) - 1;
    this.shift(this.below(joint), dx * grown, dy * grown, next - now);
  }

  // Drawing. The shapes stay while something is dragged; only their paths change.

  build() {
    const make = (kind, name, parent, data = {}) => {
      const element = document.createElementNS(SVG, kind);
      element.setAttribute("class", name);
      Object.assign(element.dataset, data);
      parent.append(element);
      return element;
    };
    const focused = document.activeElement?.dataset.joint;
    this.svg.replaceChildren();
    this.shapes = [];
    LIMBS.forEach(([a, b], limb) => {
      if (!this.has(a) || !this.has(b)) return;
      const bone = make("path", `bone ${side(b)}`, this.svg);
      const hit = make("path", "hit bone-hit", this.svg, { limb });
      this.shapes.push(() => [bone, hit].forEach((path) => path.setAttribute("d", stickFigure({ points: this.ends(a, b) }))));
    });
    // Joints of the face come last: they are small and close together.
    [1, 2, 5, 8, 11, 3, 6, 9, 12, 4, 7, 10, 13, 0, 14, 15, 16, 17].filter((joint) => this.has(joint)).forEach((joint) => {
      const group = make("g", `joint ${side(joint)}${joint === 0 || joint > 13 ? " small" : ""}`, this.svg, { joint });
      group.setAttribute("tabindex", "0");
      group.setAttribute("role", "button");
      group.setAttribute("aria-label", NAMES[joint]);
      const paths = ["rim", "dot", "hit"].map((name) => make("path", name, group, { joint }));
      this.shapes.push(() => {
        const [x, y] = this.pose.points[joint];
        for (const path of paths) path.setAttribute("d", `M${x} ${y}h.001`);
      });
    });
    this.draw();
    if (focused) this.svg.querySelector(`g[data-joint="${focused}"]`)?.focus();
  }

  ends(a, b) {
    return this.pose.points.map((point, joint) => (joint === a || joint === b ? point : [0, 0, 0]));
  }

  draw() {
    for (const shape of this.shapes) shape();
  }

  // Hands and keys.

  place(event) {
    const box = this.svg.getBoundingClientRect();
    return [((event.clientX - box.x) / box.width) * this.size[1], ((event.clientY - box.y) / box.height) * this.size[0]];
  }

  press(event) {
    const { joint, limb } = event.target.dataset;
    if (!this.pose || (joint === undefined && limb === undefined)) return;
    event.preventDefault();
    this.svg.setPointerCapture(event.pointerId);
    this.held = { joint, limb, before: structuredClone(this.pose), at: this.place(event), moved: false };
    this.svg.classList.add("dragging");
    if (joint !== undefined) event.target.parentNode.focus({ preventScroll: true });
  }

  drag(event) {
    if (!this.held) return;
    const { joint, limb, before, at } = this.held;
    const to = this.place(event);
    if (!this.held.moved) this.remember();
    this.held.moved = true;
    if (event.altKey && joint !== undefined) {
      this.deepen(Number(joint), (2 * (to[1] - at[1])) / this.size[0]);
    } else if (joint !== undefined) {
      this.move(Number(joint), ...to);
    } else {
      this.pose = structuredClone(before);
      this.swing(LIMBS[limb], at, to);
    }
    if (event.altKey || joint !== undefined) this.held.at = to;
    this.draw();
    this.onChange(false);
  }

  release() {
    const moved = this.held?.moved;
    this.held = null;
    this.svg.classList.remove("dragging");
    if (moved) this.onChange(true);
  }

  wheel(event) {
    const { joint } = event.target.dataset;
    if (joint === undefined) return;
    event.preventDefault();
    this.step(() => this.deepen(Number(joint), Math.sign(event.deltaY) * 0.05));
  }

  /** A change by a key, a button or the wheel. The full result follows after a rest. */
  step(change) {
    if (!this.resting) this.remember();
    change();
    this.draw();
    this.onChange(false);
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      this.resting = null;
      this.onChange(true);
    }, 400);
  }

  key(event) {
    const joint = this.selected;
    const far = (event.shiftKey ? 0.04 : 0.01) * this.size[0];
    const way = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] }[event.key];
    const depth = { PageUp: 0.05, PageDown: -0.05 }[event.key];
    if (joint === null || (!way && !depth)) return;
    event.preventDefault();
    const [x, y] = this.pose.points[joint];
    this.step(() => (way ? this.move(joint, x + way[0], y + way[1]) : this.deepen(joint, depth)));
  }
}
