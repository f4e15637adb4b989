/** Small helpers that make and reuse nodes. Text is always put in as text nodes, never as markup. */

const SVG = "http://www.w3.org/2000/svg";
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Return the element with this id, which index.html must have. */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no element #${id}`);
  return found;
}

/** Make an HTML element; children that are no nodes become text. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Make an SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) set(node, name, value);
  node.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return node;
}

/** Set an attribute where it differs; null and false remove the attribute. */
export function set(node, name, value) {
  if (value === null || value === false || value === undefined) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

/** Set the text of a node where it differs, and reuse its text node. */
export function setText(node, text) {
  const wanted = String(text);
  const first = node.firstChild;
  if (first && first === node.lastChild && first.nodeType === Node.TEXT_NODE) {
    if (first.data !== wanted) first.data = wanted;
  } else if (node.textContent !== wanted || node.childElementCount) {
    node.textContent = wanted;
  }
}

/** Return a name without characters that would turn or break the text around the name. */
export function shown(name) {
  return String(name).replace(CONTROLS, "\ufffd");
}

/** Return a name as an element whose direction does not reach the text around it. */
export function nameNode(name) {
  return el("bdi", { class: "name" }, shown(name));
}

const rowsOf = new WeakMap();

/**
 * Make the children of `parent` one node per item, and reuse the nodes of items that stay.
 *
 * @param key returns what identifies an item
 * @param create makes the node of an item; called once per key
 * @param update writes an item into its node
 */
export function keyed(parent, items, key, create, update) {
  const rows = rowsOf.get(parent) ?? new Map();
  rowsOf.set(parent, rows);
  const kept = new Set(items.map(key));
  for (const [name, node] of rows) {
    if (kept.has(name)) continue;
    node.remove();
    rows.delete(name);
  }
  let place = parent.firstChild;
  for (const item of items) {
    const name = key(item);
    let node = rows.get(name);
    if (!node) rows.set(name, (node = create(item)));
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
    update(node, item);
  }
}

/** Make a table row with cells; `heads` counts the leading cells that name the row. */
export function row(classes, heads = 1) {
  return el("tr", {}, ...classes.map((name, index) =>
    index < heads ? el("th", { scope: "row", class: name }) : el("td", { class: name })));
}
