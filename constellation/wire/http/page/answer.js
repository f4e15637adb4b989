/** The answer: streams the text that kernels write, in place, and says which kernels wrote it. */

import { askAnswer } from "./client.js";
import { byId, nameNode, setText } from "./dom.js";
import { percent, plural } from "./format.js";

const TOKENS_MAX = 64;

export class Answer {
  constructor() {
    this.abort = null;
    byId("stop").addEventListener("click", () => this.abort?.abort());
  }

  /** Ask for an answer to `prompt` and show the text as it comes. */
  async write(prompt, kernel, { rule, mode }) {
    this.abort?.abort();
    const abort = (this.abort = new AbortController());
    const routing = { ...(rule && { rule }), ...(mode && !kernel && { mode }) };
    const body = { model: kernel ?? "constellation", prompt, max_tokens: TOKENS_MAX,
      stream_options: { include_usage: true }, constellation: routing };
    this.begin(prompt);
    try {
      await this.follow(body, abort.signal);
    } catch (error) {
      if (this.abort === abort) setText(byId("writers"), abort.signal.aborted ? "Stopped." : error.message);
    } finally {
      if (this.abort === abort) byId("stop").hidden = true;
    }
  }

  begin(prompt) {
    byId("answer").hidden = false;
    byId("stop").hidden = false;
    setText(byId("prompt-text"), prompt);
    setText(byId("written"), "");
    setText(byId("writers"), "The kernel reads the text.");
  }

  async follow(body, signal) {
    const facts = {};
    const startedAt = performance.now();
    for await (const chunk of askAnswer(body, signal)) {
      if (signal.aborted) return;
      Object.assign(facts, chunk.constellation, chunk.usage && { usage: chunk.usage });
      const text = chunk.choices[0]?.text;
      if (text) byId("written").append(text);
      byId("written").normalize();
    }
    sayWriters(byId("writers"), facts, (performance.now() - startedAt) / 1000);
  }
}

function sayWriters(node, { route, segments, weights, usage }, seconds) {
  const tokens = usage ? `, ${plural(usage.completion_tokens, "token")}` : "";
  const time = ` in ${seconds.toFixed(1)} s`;
  node.replaceChildren("Written by ", ...writers(route, segments, weights), tokens, time, ".");
}

function writers(route, segments, weights) {
  if (weights) {
    return Object.entries(weights).flatMap(([name, weight], index) =>
      [index ? ", " : "", nameNode(name), ` (${percent(weight)})`]);
  }
  const names = segments?.length ? segments.map((each) => each.kernel) : [route.kernel];
  return names.flatMap((name, index) => [index ? ", then " : "", nameNode(name)]);
}
