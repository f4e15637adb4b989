/** The live panels: everything that the status says, in tables whose rows are reused. */

import { phiStep } from "./map.js";
import { byId, el, keyed, row, set, setText, shown } from "./dom.js";
import { age, bytes, clock, count, duration, percent, plural, radians, rate } from "./format.js";
import { Sparkline } from "./sparkline.js";

const RECENT_SHOWN = 12;
const RANK = { RUNNING: 0, FAILED: 1, STOPPED: 2 };

export class Panels {
  constructor() {
    this.sparkline = new Sparkline(byId("sparkline"));
  }

  /** Show a status. */
  show(status) {
    showHead(status);
    showProblems(status);
    this.showTraffic(status);
    showKernels(status);
    showRecent(status.recent);
    showProcesses(status);
    showNodes(status.nodes);
    showReleases(status);
    showTraining(status.training);
  }

  showTraffic({ traffic, router }) {
    setText(byId("traffic-router"), shown(router.name));
    setText(byId("requests-rate"), rate(traffic.requests_per_s));
    setText(byId("tokens-rate"), rate(traffic.tokens_per_s));
    setText(byId("latency"), duration(traffic.latency_s.p50));
    setText(byId("latency-p95"), duration(traffic.latency_s.p95));
    setText(byId("first-token"), duration(traffic.first_token_s.p50));
    setText(byId("failed-rate"), rate(traffic.failed_per_s));
    setText(byId("refused-rate"), rate(traffic.refused_per_s));
    this.sparkline.show(traffic.seconds.map((second) => second.requests));
  }
}

function showHead({ version, router, release }) {
  setText(byId("router-name"), shown(router.name));
  setText(byId("version"), version);
  setText(byId("uptime"), age(router.uptime_s));
  setText(byId("release"), release.number ? `release ${release.number}${since(release)}` : "no release");
}

const since = (release) => (release.since ? ` since ${clock(release.since)}` : "");

/** Return what is wrong, in words, the worst first. */
function problemsOf({ problem, registry, routers, kernels, router, training }) {
  const down = kernels.filter((kernel) => !kernel.up).map((kernel) => shown(kernel.name));
  const fewer = kernels.filter((kernel) => kernel.up && upOf(kernel) < (kernel.replicas ?? []).length).map((kernel) => shown(kernel.name));
  const lost = routers.filter((each) => !each.up).map((each) => shown(each.name));
  const guarded = (training?.kernels ?? []).filter((each) => each.state === "RUNNING" && each.guard && each.guard !== "HEALTHY");
  return [
    problem,
    !registry.up && "The registry is down or silent: queries are answered, changes wait.",
    kernels.length > 0 && down.length === kernels.length && "No kernel is up: queries cannot be answered.",
    down.length > 0 && down.length < kernels.length && `${plural(down.length, "kernel")} down: ${down.slice(0, 8).join(", ")}${down.length > 8 ? " and others" : ""}.`,
    fewer.length > 0 && `${plural(fewer.length, "kernel")} served by too few processes: ${fewer.slice(0, 8).join(", ")}${fewer.length > 8 ? " and others" : ""}.`,
    ...new Set(kernels.map((kernel) => kernel.problem).filter(Boolean)),
    lost.length > 0 && `${plural(lost.length, "router")} down: ${lost.join(", ")}.`,
    router.num_unexpected_errors > 0 && `${plural(router.num_unexpected_errors, "unexpected error")} in this router since its start; its log says more.`,
    training?.state === "FAILED" && "The training failed.",
    ...guarded.map((each) => `Training of ${shown(each.kernel)}: guard ${each.guard}.`),
  ].filter(Boolean);
}

/** Return how many processes of a kernel with several processes are up. */
const upOf = (kernel) => (kernel.replicas ?? []).filter((each) => each.up).length;

/** Return "up" or "down"; of a kernel with several processes, how many of them are up. */
const stateOf = (kernel) => kernel.replicas ? `${upOf(kernel)} of ${kernel.replicas.length} up` : kernel.up ? "up" : "down";

function showProblems(status) {
  const problems = problemsOf(status);
  byId("problems").hidden = problems.length === 0;
  keyed(byId("problem-list"), problems, (text) => text, () => el("li"), setText);
}

function showKernels({ kernels, nodes }) {
  const addresses = new Map(nodes.map((node) => [node.id, node.address]));
  const up = kernels.filter((kernel) => kernel.up).length;
  setText(byId("kernel-count"), `${up} of ${plural(kernels.length, "kernel")} up`);
  const total = kernels.reduce((sum, kernel) => sum + kernel.num_routed, 0);
  const byLoad = [...kernels].sort((a, b) => b.num_routed - a.num_routed || a.name.localeCompare(b.name));
  keyed(byId("kernels").tBodies[0], byLoad, (kernel) => kernel.name, () => newKernelRow(), (node, kernel) => {
    const [name, state, running, queue, routed, arrived, restarts, phi, phase, seat, place] = node.children;
    setText(name.firstChild, shown(kernel.name));
    set(state.firstChild, "class", kernel.up ? "state up" : "state down");
    setText(state.firstChild, stateOf(kernel));
    setText(running, count(kernel.num_running));
    setText(queue, count(kernel.queue_depth));
    setText(routed, total ? `${count(kernel.num_routed)} (${percent(kernel.num_routed / total)})` : "0");
    setText(arrived, kernel.num_held_out ? percent(kernel.arrived) : "–");
    setText(restarts, count(kernel.num_restarts));
    set(phi.firstChild, "class", `swatch phi-${phiStep(kernel.phi_gauge)}`);
    setText(phi.lastChild, kernel.phi_gauge === null ? "–" : kernel.phi_gauge.toFixed(2));
    setText(phase, kernel.phase ? kernel.phase.toLowerCase() : "–");
    setText(seat, kernel.seat === null ? "–" : kernel.seat);
    const places = [...new Set((kernel.replicas ?? [kernel]).map((each) => each.node).filter(Boolean))];
    setText(place, places.map((each) => shown(addresses.get(each) ?? each)).join(", ") || "–");
  });
}

function newKernelRow() {
  const node = row(["", "", "number wide", "number wide", "number", "number wide", "number wide", "number", "wide", "number wide", "wide"]);
  node.children[0].append(el("bdi", { class: "name" }));
  node.children[1].append(el("span"));
  node.children[7].append(el("span", { "aria-hidden": "true" }), el("span"));
  return node;
}

function showRecent(recent) {
  byId("no-recent").hidden = recent.length > 0;
  byId("recent").hidden = recent.length === 0;
  keyed(byId("recent").tBodies[0], recent.slice(0, RECENT_SHOWN), (each) => each.number, () => {
    const node = row(["number", "", "number", "number wide", "number wide", ""]);
    node.children[1].append(el("bdi", { class: "name" }));
    return node;
  }, (node, each) => {
    const [at, kernel, distance, margin, tokens, reason] = node.children;
    setText(at, clock(each.at));
    setText(kernel.firstChild, shown(each.kernel));
    setText(distance, each.distance === null ? "–" : radians(each.distance));
    setText(margin, radians(each.margin));
    setText(tokens, count(each.num_tokens));
    setText(reason, [each.reason, each.mode !== "nearest" && each.mode, each.out_of_domain && "out of domain"].filter(Boolean).join(", "));
  });
}

function showProcesses({ registry, routers, router }) {
  const all = [...routers.map((each) => ({ ...each, what: each.name === router.name ? "this router" : "router" })),
    { name: "registry", what: "registry", endpoint: "", num_restarts: null, ...registry }];
  keyed(byId("processes").tBodies[0], all, (each) => `${each.what} ${each.name}`, () => {
    const node = row(["", "", "wide", "number", "number"]);
    node.children[0].append(el("bdi", { class: "name" }));
    node.children[1].append(el("span"));
    return node;
  }, (node, each) => {
    const [name, state, endpoint, pid, restarts] = node.children;
    setText(name.firstChild, shown(each.name) + (each.what === "this router" ? " (this one)" : ""));
    set(state.firstChild, "class", each.up ? "state up" : "state down");
    setText(state.firstChild, each.up ? "up" : "down");
    setText(endpoint, each.endpoint || "–");
    setText(pid, each.pid || "–");
    setText(restarts, each.num_restarts ?? "–");
  });
}

function showNodes(nodes) {
  byId("nodes-panel").hidden = nodes.length === 0;
  keyed(byId("nodes").tBodies[0], nodes, (node) => node.id, () => row(["", "number wide", "number", "number", "number wide"]), (node, each) => {
    const [address, processes, load, memory, disk] = node.children;
    setText(address, shown(each.address || each.id));
    setText(processes, count(each.processes));
    setText(load, each.load_ratio === null ? "–" : rate(each.load_ratio));
    setText(memory, `${bytes(each.memory_free_bytes)} of ${bytes(each.memory_bytes)}`);
    setText(disk, bytes(each.disk_free_bytes));
  });
}

function showReleases({ releases, release }) {
  byId("releases-panel").hidden = releases.length === 0;
  keyed(byId("releases").tBodies[0], releases, (each) => each.number, () => row(["number", "", "", "number wide"]), (node, each) => {
    const [number, made, change, parent] = node.children;
    set(node, "class", each.number === release.number ? "chosen" : "");
    setText(number, `${each.number}${each.number === release.number ? " (served)" : ""}`);
    setText(made, clock(each.made));
    setText(change, shown(each.change));
    setText(parent, each.parent ?? "–");
  });
}

function showTraining(training) {
  byId("training-panel").hidden = !training;
  if (!training) return;
  setText(byId("training-state"), `${training.state.toLowerCase()}, last written ${clock(training.updated)}`);
  const ordered = [...training.kernels].sort((a, b) => (RANK[a.state] ?? 3) - (RANK[b.state] ?? 3));
  keyed(byId("training").tBodies[0], ordered, (each) => each.kernel, newTrainingRow, (node, each) => {
    const [name, state, progress, bits, speed, left] = node.children;
    setText(name.firstChild, shown(each.kernel));
    setText(state, [each.state.toLowerCase(), each.phase && each.phase.toLowerCase()].filter(Boolean).join(", "));
    set(progress.firstChild, "max", each.num_steps || 1);
    set(progress.firstChild, "value", each.step ?? 0);
    set(progress.firstChild, "aria-label", `Steps of ${shown(each.kernel)}`);
    setText(progress.lastChild, each.num_steps ? ` ${count(each.step ?? 0)}/${count(each.num_steps)}` : " –");
    setText(bits, (each.dev_bits_per_byte ?? each.bits_per_byte)?.toFixed(2) ?? "–");
    setText(speed, each.tokens_per_second ? count(Math.round(each.tokens_per_second)) : "–");
    setText(left, each.eta_s ? age(each.eta_s) : "–");
  });
}

function newTrainingRow() {
  const node = row(["", "", "steps", "number", "number wide", "number wide"]);
  node.children[0].append(el("bdi", { class: "name" }));
  node.children[2].append(el("progress"), el("span"));
  return node;
}
