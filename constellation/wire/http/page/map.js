/** The map: 240 seats on the Coxeter plane of E8, live kernels as marks, edges of a route. */

import { keyed, set, setText, shown, svg } from "./dom.js";
import { radians } from "./format.js";
import { Labels } from "./labels.js";

const SIZE = 1000;
const CENTRE = SIZE / 2;
const RADIUS = 465;
const EDGES_MAX = 12;
const UNSEATED_PER_ROW = 12;
const PHI_STEPS = [0.5, 0.65, 0.75, 0.85, 0.95];
const PHASES = { FOAM: "F", TACKING: "T", CRYSTAL: "C", FRACTURE: "X" };

/** Return the step of the colour scale of Phi, 0 to 5; "none" when Phi was not measured. */
export function phiStep(phi) {
  if (phi === null || phi === undefined) return "none";
  return PHI_STEPS.filter((step) => phi >= step).length;
}

export class SeatMap {
  constructor(root, seats) {
    this.root = root;
    this.seats = seats.map(([x, y]) => [CENTRE + RADIUS * x, CENTRE - RADIUS * y]);
    this.layers = Object.fromEntries(
      ["rings", "dots", "edges", "marks", "query", "labels"].map((name) => [name, svg("g", { class: name })]));
    root.append(...Object.values(this.layers));
    this.labels = new Labels(this.layers.labels);
    this.kernels = [];
    this.route = null;
    this.before = null;
    this.drawGround(seats);
    this.drawQuery();
    new ResizeObserver(() => this.draw()).observe(root);
  }

  /** Show these kernels, each as the status describes it. */
  setKernels(kernels) {
    this.kernels = kernels;
    this.draw();
  }

  /** Light up a route, with the route before a change beside it; null for none. */
  setRoute(route, before) {
    this.route = route;
    this.before = before && route && before.kernel !== route.kernel ? before : null;
    this.draw();
  }

  /** Mark for a moment the kernels that have just answered. */
  flash(names) {
    for (const mark of this.layers.marks.children) {
      if (names.has(mark.dataset.name)) mark.classList.add("hit");
    }
  }

  drawGround(seats) {
    const radii = [...new Set(seats.map(([x, y]) => Math.hypot(x, y).toFixed(2)))];
    for (const radius of radii) {
      this.layers.rings.append(svg("circle", { cx: CENTRE, cy: CENTRE, r: RADIUS * radius }));
    }
    for (const [x, y] of this.seats) {
      this.layers.dots.append(svg("circle", { cx: x.toFixed(1), cy: y.toFixed(1), r: 3.4 }));
    }
    this.layers.marks.addEventListener("animationend", (event) =>
      event.target.closest(".kernel")?.classList.remove("hit"));
  }

  drawQuery() {
    this.queryMark = svg("path", { class: "query-mark" });
    this.layers.query.append(this.queryMark);
  }

  draw() {
    const unit = SIZE / Math.max(240, this.root.clientWidth || SIZE); // one CSS pixel
    this.unit = unit;
    this.place();
    const d = 8 * unit;
    set(this.queryMark, "d", `M${CENTRE} ${CENTRE - d}l${d} ${d}l${-d} ${d}l${-d} ${-d}z`);
    set(this.layers.query, "visibility", this.route ? "visible" : "hidden");
    this.drawEdges();
    this.drawMarks();
    this.labels.draw(this.marks, unit, SIZE, this.height, this.route ? CENTRE : null);
    set(this.root, "viewBox", `0 0 ${SIZE} ${this.height}`);
  }

  /** Give every kernel a place: its seat, or a place in rows below the rings. */
  place() {
    const unseated = this.kernels.filter((kernel) => !this.seats[kernel.seat ?? -1]);
    const step = SIZE / UNSEATED_PER_ROW;
    const rowHeight = Math.max(90, 60 * this.unit);
    this.height = SIZE + rowHeight * Math.ceil(unseated.length / UNSEATED_PER_ROW);
    const below = new Map(unseated.map((kernel, index) => [kernel.name, [
      step * ((index % UNSEATED_PER_ROW) + 0.5),
      SIZE + rowHeight * (Math.floor(index / UNSEATED_PER_ROW) + 0.35),
    ]]));
    this.marks = this.kernels.map((kernel) => this.markOf(kernel, below.get(kernel.name)));
    this.markAt = new Map(this.marks.map((mark) => [mark.kernel.name, mark]));
  }

  markOf(kernel, below) {
    const [x, y] = below ?? this.seats[kernel.seat];
    const load = kernel.num_running + kernel.queue_depth;
    const base = this.kernels.length > 120 ? 4 : this.kernels.length > 40 ? 6 : 9;
    const size = base * this.unit * (1 + 0.7 * (1 - 1 / (1 + load / 3)));
    const place = this.route ? this.route.choices.findIndex((each) => each.kernel === kernel.name) : -1;
    const chosen = this.route?.kernel === kernel.name;
    return { kernel, x, y, size, load, chosen, was: this.before?.kernel === kernel.name, place,
      distance: place >= 0 && (place < 2 || chosen) ? this.route.choices[place].distance : null };
  }

  drawEdges() {
    const shownChoices = (this.route?.choices ?? []).slice(0, EDGES_MAX)
      .filter((choice) => this.markAt.has(choice.kernel))
      .map((choice) => ({ ...choice, kind: choice.kernel === this.route.kernel ? "chosen" : "near" }));
    const gone = this.before && this.markAt.has(this.before.kernel)
      ? [{ kernel: this.before.kernel, weight: 0.2, kind: "was" }] : [];
    keyed(this.layers.edges, [...gone, ...shownChoices.reverse()],
      (edge) => `${edge.kind === "was"} ${edge.kernel}`,
      () => svg("line", { x1: CENTRE, y1: CENTRE }),
      (node, edge) => {
        const { x, y } = this.markAt.get(edge.kernel);
        set(node, "x2", x.toFixed(1));
        set(node, "y2", y.toFixed(1));
        set(node, "class", `edge ${edge.kind}${edge.weight > 0.005 ? "" : " unweighted"}`);
        set(node, "stroke-width", (this.unit * (1 + 6 * edge.weight)).toFixed(2));
      });
  }

  drawMarks() {
    keyed(this.layers.marks, this.marks, (mark) => mark.kernel.name, newMark, (node, mark) => {
      const { kernel } = mark;
      const [halo, body, cross, badge, phase, title] = node.children;
      const state = `${kernel.up ? "" : " down"}${mark.chosen ? " chosen" : ""}${mark.was ? " was" : ""}`;
      const kept = node.classList.contains("hit") ? " hit" : "";
      set(node, "class", `kernel phi-${phiStep(kernel.phi_gauge)}${state}${kept}`);
      set(node, "transform", `translate(${mark.x.toFixed(1)} ${mark.y.toFixed(1)})`);
      set(halo, "r", (mark.size + 5 * this.unit).toFixed(1));
      set(body, "r", mark.size.toFixed(1));
      const arm = 0.6 * mark.size;
      set(cross, "d", kernel.up ? null : `M${-arm} ${-arm}L${arm} ${arm}M${arm} ${-arm}L${-arm} ${arm}`);
      this.drawPhase(badge, phase, mark);
      setText(title, describe(mark));
    });
  }

  drawPhase(badge, letter, { kernel, size }) {
    const known = PHASES[kernel.phase];
    const at = size + 3 * this.unit;
    set(badge, "r", known ? 6.5 * this.unit : 0);
    set(badge, "cx", at);
    set(badge, "cy", -at);
    set(letter, "x", at);
    set(letter, "y", -at);
    set(letter, "font-size", 10 * this.unit);
    setText(letter, known ?? "");
  }
}

function newMark(mark) {
  const node = svg("g", {}, svg("circle", { class: "halo" }), svg("circle", { class: "body" }),
    svg("path", { class: "cross" }), svg("circle", { class: "badge" }),
    svg("text", { class: "phase" }), svg("title"));
  node.dataset.name = mark.kernel.name;
  return node;
}

function describe({ kernel, load, distance }) {
  const facts = [
    kernel.up ? "up" : "down",
    `${load} running or waiting`,
    kernel.phi_gauge === null ? "Φ not measured" : `Φ ${kernel.phi_gauge.toFixed(2)}`,
    kernel.phase && `phase ${kernel.phase}`,
    kernel.seat === null ? "no seat" : `seat ${kernel.seat}`,
    distance !== null && `${radians(distance)} rad from the question`,
  ];
  return `${shown(kernel.name)}: ${facts.filter(Boolean).join(", ")}`;
}
