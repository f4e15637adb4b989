/** The question: asks for its route while one types, and for what if words or kernels are left out. */

import { askRoute } from "./client.js";
import { sayChange, sayDecision, sayDomain, showChoices } from "./decision.js";
import { byId, el, keyed, set, setText, shown } from "./dom.js";
import { radians } from "./format.js";
import { shade, splitWords, without, wordShifts, WORDS_MAX } from "./words.js";

const DEBOUNCE_MS = 250;

export class Ask {
  /** @param map shows the route; @param answer writes the answer */
  constructor(map, answer) {
    this.map = map;
    this.answer = answer;
    this.text = "";
    this.words = [];
    this.struck = new Set();
    this.leftOut = new Set();
    this.base = null;
    this.route = null;
    this.timer = 0;
    this.abort = null;
    this.listen();
  }

  listen() {
    const question = byId("question");
    question.addEventListener("input", () => this.later());
    question.addEventListener("keydown", (event) => this.onKey(event));
    byId("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      this.now();
    });
    byId("answer-button").addEventListener("click", () => this.askAnswer());
    byId("reset").addEventListener("click", () => this.reset());
    byId("words").addEventListener("click", (event) => this.onWord(event));
    for (const id of ["rule", "mode"]) byId(id).addEventListener("change", () => this.now());
  }

  onKey(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (event.ctrlKey || event.metaKey) this.askAnswer();
    else this.now();
  }

  onWord(event) {
    const button = event.target.closest("button");
    if (!button) return;
    const index = Number(button.dataset.index);
    if (!this.struck.delete(index)) this.struck.add(index);
    this.ask();
  }

  leaveOut(name, isOut) {
    if (isOut) this.leftOut.add(name);
    else this.leftOut.delete(name);
    this.ask();
  }

  reset() {
    this.struck.clear();
    this.leftOut.clear();
    this.ask();
    byId("question").focus();
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.now(), DEBOUNCE_MS);
  }

  /** Ask for the route of what stands in the text box. */
  now() {
    clearTimeout(this.timer);
    const text = byId("question").value;
    if (text !== this.text) {
      this.struck.clear();
      this.words = splitWords(text);
    }
    this.text = text;
    this.base = null;
    return this.ask();
  }

  /** Ask for the route, and again with what is left out; only the latest question counts. */
  async ask() {
    this.abort?.abort();
    const { signal } = (this.abort = new AbortController());
    set(byId("question"), "aria-busy", "true");
    try {
      await this.fetchRoutes(signal);
      this.problem("");
    } catch (error) {
      if (signal.aborted) return;
      if (!this.base) this.route = null;
      this.problem(error.message);
    } finally {
      if (!signal.aborted) set(byId("question"), "aria-busy", null);
    }
    this.show();
  }

  async fetchRoutes(signal) {
    if (!this.text.trim()) {
      this.base = this.route = null;
      return;
    }
    const base = this.base ?? (await askRoute(this.body(this.text, []), signal));
    this.base = base;
    this.route = base;
    if (!this.isChanged()) return;
    const left = without(this.text, this.words, this.struck);
    if (!left.trim()) throw new Error("All words are struck out: there is nothing left to route.");
    this.route = await askRoute(this.body(left, [...this.leftOut]), signal);
  }

  body(input, leftOut) {
    const rule = byId("rule").value;
    const mode = byId("mode").value;
    return { input, ...(rule && { rule }), ...(mode && { mode }), ...(leftOut.length && { without: leftOut }) };
  }

  isChanged() {
    return this.struck.size + this.leftOut.size > 0;
  }

  async askAnswer() {
    await this.now();
    if (!this.route) return;
    const prompt = without(this.text, this.words, this.struck);
    // A request for text cannot leave out kernels, so the kernel of the new route is named.
    const kernel = this.leftOut.size ? this.route.kernel : null;
    await this.answer.write(prompt, kernel, { rule: byId("rule").value, mode: byId("mode").value });
  }

  problem(message) {
    setText(byId("ask-problem"), message);
    byId("ask-problem").hidden = !message;
  }

  show() {
    const { route, base } = this;
    const changed = Boolean(route) && base !== route;
    byId("decision").hidden = !route;
    byId("invitation").hidden = Boolean(route);
    byId("reset").hidden = !this.isChanged();
    this.map.setRoute(route, base);
    set(byId("map"), "aria-label", route ? `Map of the kernels; the query goes to ${shown(route.kernel)}` : "Map of the kernels");
    if (!route) return;
    sayDecision(byId("chosen"), route);
    sayDomain(byId("domain"), route);
    byId("change").hidden = !changed;
    byId("choices").classList.toggle("changed", changed);
    if (changed) sayChange(byId("change"), base, route, this.struckWords(), [...this.leftOut]);
    showChoices(byId("choices").tBodies[0], route, changed ? base : null, this.leftOut, (name, isOut) => this.leaveOut(name, isOut));
    this.showWords();
  }

  struckWords() {
    return [...this.struck].sort((a, b) => a - b).map((index) => this.words[index].text);
  }

  showWords() {
    const { influences, num_tokens: numTokens } = this.base;
    const shifts = wordShifts(this.text, this.words, influences, numTokens);
    const largest = Math.max(...shifts, 0);
    const items = this.words.map((word, index) => ({ ...word, index, shift: shifts[index],
      gap: index && this.words[index - 1].end < word.start ? " " : "" }));
    keyed(byId("words"), items, (item) => `${item.index} ${item.gap}${item.text}`, newWord, (node, item) => {
      const button = node.lastElementChild;
      const isStruck = this.struck.has(item.index);
      set(button, "class", `word shade-${shade(item.shift, largest)}`);
      set(button, "aria-pressed", String(isStruck));
      set(button, "title", item.shift ? `moved the basin by ${radians(item.shift)} rad` : "moved the basin less than the words that are shaded");
    });
    byId("more-words").hidden = this.words.length < WORDS_MAX;
  }
}

function newWord(item) {
  const button = el("button", { type: "button", "data-index": item.index }, el("bdi", {}, item.text));
  return el("span", {}, item.gap, button);
}
