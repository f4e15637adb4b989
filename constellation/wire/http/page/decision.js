/** A route in plain words, and as a table. */

import { el, keyed, nameNode, set, setText, svg } from "./dom.js";
import { percent, plural, radians } from "./format.js";

export const CHOICES_MAX = 12;
const BAR_WIDTH = 90;
const REASONS = {
  pinned: "because the request named this kernel",
  failover: "because a nearer kernel is down",
  spill: "because a nearer kernel has too many requests",
};

const strong = (name) => el("strong", {}, nameNode(name));

/** Write into `node` which kernel the query goes to and by how much. */
export function sayDecision(node, route) {
  const [first, second] = route.choices;
  const parts = [strong(route.kernel)];
  if (REASONS[route.reason]) parts.push(` answers, ${REASONS[route.reason]}. Nearest is `, nameNode(first.kernel));
  else if (second) parts.push(` is nearest, by ${radians(route.margin)} rad`);
  else parts.push(" is the only kernel that is considered");
  parts.push(`: ${radians(first.distance)} rad from the text.`);
  if (second) parts.push(" The next is ", nameNode(second.kernel), `, at ${radians(second.distance)} rad.`);
  node.replaceChildren(...parts);
}

/** Write into `node` how well the text fits the domain of its kernel. */
export function sayDomain(node, route) {
  node.classList.toggle("warning", route.out_of_domain || route.no_evidence);
  setText(node, domainWords(route));
}

function domainWords(route) {
  const read = `${plural(route.num_tokens, "token")} read`;
  if (route.no_evidence) return `The text says nothing about any domain: ${read}, none informative.`;
  const share = route.beyond_own;
  const usual = share === null || share === undefined ? "" : ` ${rarity(share)}`;
  const where = route.out_of_domain ? "The text is out of every kernel's domain." : "The text is inside the domain.";
  return `${where}${usual} ${read}.`;
}

function rarity(share) {
  if (share >= 0.5) return "At least half of the texts of that domain lie as far out.";
  if (share <= 0.002) return "At most 0.2 % of the texts of that domain lie as far out.";
  return `${(100 * share).toFixed(1)} % of the texts of that domain lie as far out.`;
}

/** Write into `node` what leaving out words or kernels changed. */
export function sayChange(node, before, now, words, kernels) {
  const parts = ["Without ", ...listed(words, kernels), " "];
  if (before.kernel === now.kernel) {
    parts.push("the query still goes to ", strong(now.kernel), `: ${leadWords(before.margin, now.margin)}.`);
  } else {
    parts.push("the query goes to ", strong(now.kernel), " instead of ", strong(before.kernel), ".");
  }
  node.replaceChildren(...parts);
}

function leadWords(before, now) {
  if (radians(before) === radians(now)) return `its lead stays at ${radians(now)} rad`;
  const verb = now > before ? "grows" : "shrinks";
  return `its lead ${verb} from ${radians(before)} to ${radians(now)} rad`;
}

function listed(words, kernels) {
  const parts = [];
  const shownWords = words.slice(0, 6);
  shownWords.forEach((word, index) => parts.push(index ? ", " : "", "“", el("bdi", {}, word), "”"));
  if (words.length > shownWords.length) parts.push(` and ${plural(words.length - shownWords.length, "more word")}`);
  if (words.length && kernels.length) parts.push(" and ");
  kernels.forEach((name, index) => parts.push(index ? ", " : kernels.length > 1 ? "the kernels " : "the kernel ", nameNode(name)));
  return parts;
}

/** Show the kernels that were considered; `toggle` is called with a kernel to leave out or not. */
export function showChoices(body, route, before, leftOut, toggle) {
  const known = new Map((before ?? route).choices.map((choice) => [choice.kernel, choice]));
  const now = new Map(route.choices.map((choice) => [choice.kernel, choice]));
  const names = [...new Set([...route.choices.slice(0, CHOICES_MAX).map((each) => each.kernel), ...leftOut])];
  keyed(body, names, (name) => name, (name) => newChoice(name, toggle), (node, name) => {
    const [, distance, was, weight, radius] = node.children;
    const choice = now.get(name);
    set(node, "class", name === route.kernel ? "chosen" : choice ? "" : "left-out");
    showBar(distance, choice);
    setText(was, known.get(name) ? radians(known.get(name).distance) : "–");
    setText(weight, choice ? percent(choice.weight) : "–");
    setText(radius, !choice ? "left out" : choice.distance <= choice.radius ? `inside ${radians(choice.radius)}` : `beyond ${radians(choice.radius)}`);
    node.querySelector("input").checked = leftOut.has(name);
  });
}

function newChoice(name, toggle) {
  const box = el("input", { type: "checkbox" });
  box.addEventListener("change", () => toggle(name, box.checked));
  const label = el("label", { class: "tick" }, box, el("span", { class: "hidden" }, "Leave out ", nameNode(name)));
  const bar = svg("svg", { class: "bar", viewBox: `0 0 ${BAR_WIDTH} 10`, "aria-hidden": "true" },
    svg("rect", { class: "length", y: 2, height: 6, rx: 3 }), svg("line", { class: "radius", y1: 0, y2: 10 }));
  return el("tr", {}, el("th", { scope: "row" }, nameNode(name)), el("td", { class: "distance" }, el("span"), bar),
    el("td", { class: "number before" }), el("td", { class: "number" }), el("td", { class: "wide" }), el("td", {}, label));
}

function showBar(cell, choice) {
  const [text, bar] = cell.children;
  setText(text, choice ? radians(choice.distance) : "–");
  const [length, radius] = bar.children;
  const scale = (value) => (BAR_WIDTH * Math.min(value, Math.PI)) / Math.PI;
  set(length, "width", choice ? scale(choice.distance).toFixed(1) : 0);
  set(radius, "visibility", choice ? "visible" : "hidden");
  if (!choice) return;
  set(radius, "x1", scale(choice.radius).toFixed(1));
  set(radius, "x2", scale(choice.radius).toFixed(1));
}
