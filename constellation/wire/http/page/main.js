/** Starts the page: the map, the question, the live panels, and the stream that feeds them. */

import { Answer } from "./answer.js";
import { Ask } from "./ask.js";
import { onTokenNeeded } from "./client.js";
import { byId, set, setText } from "./dom.js";
import { age } from "./format.js";
import { SeatMap } from "./map.js";
import { Panels } from "./panels.js";
import { StatusStream } from "./stream.js";
import { askForToken } from "./token.js";

async function start() {
  onTokenNeeded(askForToken);
  const seats = await (await fetch("/page/seats.json")).json();
  const map = new SeatMap(byId("map"), seats);
  new Ask(map, new Answer());
  const show = shower(map, new Panels());
  const stream = new StatusStream(show);
  byId("connect").addEventListener("click", () => stream.now());
  setInterval(() => sayConnection(stream), 1000);
  await stream.run();
}

/** Return the function that shows a status; it notes which routes are new. */
function shower(map, panels) {
  let newest = null;
  return (status) => {
    panels.show(status);
    map.setKernels(status.kernels);
    byId("legend-phase").hidden = !status.kernels.some((kernel) => kernel.phase);
    const latest = status.recent[0]?.number ?? 0;
    // A router that has started again counts from the beginning.
    if (newest !== null && latest > newest) {
      map.flash(new Set(status.recent.filter((each) => each.number > newest).map((each) => each.kernel)));
    }
    newest = latest;
    set(document.body, "data-ready", "true");
  };
}

let announced = "";

function sayConnection(stream) {
  stream.check();
  const isOld = stream.isOld();
  const isLive = stream.state === "live" && !isOld;
  set(byId("connection"), "class", isLive ? "live" : "lost");
  setText(byId("connection-text"), connectionWords(stream, isOld));
  byId("connect").hidden = stream.state !== "lost";
  document.body.classList.toggle("old", isOld);
  const said = isLive ? "Connected." : stream.state === "lost" ? `Connection lost: ${stream.problem}.` : "";
  if (said && said !== announced) setText(byId("announcement"), said);
  announced = said || announced;
}

function connectionWords(stream, isOld) {
  if (stream.state === "live" && !isOld) return "live";
  const old = stream.status ? `data are ${age(stream.silence())} old; ` : "";
  if (stream.isRefused) return `${old}no token was given`;
  if (stream.state === "lost") return `${old}${stream.problem}; next try in ${age(Math.ceil(stream.secondsToRetry()))}`;
  return `${old}${stream.state === "live" ? "the router is silent" : stream.state}`;
}

start();
