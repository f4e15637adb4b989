/** A line of the requests of the last 60 seconds; its two paths are reused. */

import { set, svg } from "./dom.js";

const WIDTH = 240;
const HEIGHT = 44;

export class Sparkline {
  constructor(root) {
    this.root = root;
    this.area = svg("path", { class: "area" });
    this.line = svg("path", { class: "line" });
    set(root, "viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    root.append(this.area, this.line);
  }

  /** Show counts, the oldest first. */
  show(counts) {
    const most = Math.max(1, ...counts);
    const step = WIDTH / Math.max(1, counts.length - 1);
    const points = counts.map((each, index) =>
      `${(index * step).toFixed(1)} ${(HEIGHT - 2 - ((HEIGHT - 6) * each) / most).toFixed(1)}`);
    const line = points.length ? `M${points.join("L")}` : "";
    set(this.line, "d", line);
    set(this.area, "d", line && `${line}L${WIDTH} ${HEIGHT}L0 ${HEIGHT}Z`);
    const total = counts.reduce((sum, each) => sum + each, 0);
    set(this.root, "aria-label", `Requests per second over the last minute: ${total} in total, at most ${Math.max(0, ...counts)} in one second`);
  }
}
