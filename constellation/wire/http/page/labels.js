/** Puts the names of kernels beside their marks so that no name covers another. */

import { keyed, set, setText, shown, svg } from "./dom.js";
import { radians } from "./format.js";

const FONT_PX = 13;
const CHARACTER = 0.56; // of the size of the font, on average
const LENGTH_MAX = 22;
const ALL_UP_TO = 12; // with more kernels, a name that finds no free place is left out

export class Labels {
  constructor(layer) {
    this.layer = layer;
    this.drawn = "";
  }

  /** Place the labels of all marks; the kernels of the route come first. */
  draw(marks, unit, width, height, centre) {
    const wanted = JSON.stringify([unit, height, centre, marks.map(identity)]);
    if (wanted === this.drawn) return; // the status comes every second and seldom moves a mark
    this.drawn = wanted;
    const font = FONT_PX * unit;
    const taken = marks.map(({ x, y, size }) => box(x - size, y - size, 2 * size, 2 * size));
    if (centre !== null) taken.push(box(centre - font, centre - font, 2 * font, 2 * font));
    const ordered = [...marks].sort((a, b) => rank(a) - rank(b) || b.load - a.load);
    const placed = [];
    for (const mark of ordered) {
      const label = fit(mark, font, unit, taken, width, height);
      const needed = mark.chosen || mark.was || mark.place === 0 || marks.length <= ALL_UP_TO;
      if (label.overlap > 0 && !needed) continue;
      taken.push(label.box);
      placed.push(label);
    }
    this.show(placed, font);
  }

  show(placed, font) {
    keyed(this.layer, placed, (label) => label.mark.kernel.name, () => svg("text", {}, svg("tspan", { class: "name" }), svg("tspan", { class: "distance" })), (node, { mark, x, y }) => {
      const [name, distance] = node.children;
      set(node, "class", `label${mark.chosen ? " chosen" : ""}${mark.kernel.up ? "" : " down"}`);
      set(node, "x", x.toFixed(1));
      set(node, "y", y.toFixed(1));
      set(node, "font-size", font.toFixed(1));
      setText(name, nameOf(mark));
      setText(distance, distanceOf(mark));
    });
  }
}

function identity({ kernel, x, y, size, chosen, was, place, distance }) {
  return [kernel.name, kernel.up, x, y, size, chosen, was, place, distance];
}

function rank(mark) {
  if (mark.chosen) return 0;
  if (mark.was) return 1;
  return mark.place < 0 ? 1000 : 2 + mark.place;
}

function nameOf({ kernel }) {
  const name = shown(kernel.name);
  const short = name.length > LENGTH_MAX ? `${name.slice(0, LENGTH_MAX - 1)}…` : name;
  return kernel.up ? short : `${short} (down)`;
}

function distanceOf({ distance }) {
  return distance === null ? "" : `\u2002${radians(distance)}`;
}

function box(x, y, width, height) {
  return { left: x, top: y, right: x + width, bottom: y + height };
}

/** Return the place around a mark where the label covers least. */
function fit(mark, font, unit, taken, width, height) {
  const length = [...nameOf(mark) + distanceOf(mark)].length * CHARACTER * font;
  const gap = mark.size + 5 * unit;
  const diagonal = 0.7 * gap;
  const places = [
    [mark.x + gap, mark.y], [mark.x - gap - length, mark.y],
    [mark.x - length / 2, mark.y - gap - 0.4 * font], [mark.x - length / 2, mark.y + gap + 0.6 * font],
    [mark.x + diagonal, mark.y - diagonal - 0.3 * font], [mark.x + diagonal, mark.y + diagonal + 0.3 * font],
    [mark.x - diagonal - length, mark.y - diagonal - 0.3 * font],
    [mark.x - diagonal - length, mark.y + diagonal + 0.3 * font],
  ];
  let best = null;
  for (const [x, middle] of places) {
    const area = box(x, middle - 0.55 * font, length, 1.1 * font);
    const overlap = taken.reduce((sum, other) => sum + shared(area, other), 0) + outside(area, width, height);
    if (!best || overlap < best.overlap) best = { mark, x, y: middle + 0.35 * font, box: area, overlap };
    if (overlap === 0) break;
  }
  return best;
}

function shared(a, b) {
  const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  return width > 0 && height > 0 ? width * height : 0;
}

function outside({ left, right, top, bottom }, width, height) {
  const beyond = Math.max(0, -left) + Math.max(0, right - width);
  return 100 * (beyond + Math.max(0, -top) + Math.max(0, bottom - height));
}
