/** Requests to the router that served the page. The token is kept in memory only. */

const EVENT_CHARACTERS_MAX = 8_000_000;

let token = null;
let askForToken = async () => null;

/** An error that the router answered with. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Set the function that asks the user for a token; it returns null when the user declines. */
export function onTokenNeeded(ask) {
  askForToken = ask;
}

/** Make a request; when the router asks for a token, ask the user and try again. */
async function request(path, options = {}) {
  for (;;) {
    const sent = token;
    const headers = { ...options.headers, ...(sent ? { Authorization: `Bearer ${sent}` } : {}) };
    const response = await fetch(path, { ...options, headers, cache: "no-store" });
    if (response.ok) return response;
    const refused = await refusal(response);
    if (response.status !== 401) throw refused;
    if (token !== sent) continue; // another request has got a token meanwhile
    const given = await askForToken(sent !== null);
    if (given === null) throw refused;
    token = given;
  }
}

async function refusal(response) {
  const said = await response.json().catch(() => null);
  const message = said?.error?.message ?? `the router answered with status ${response.status}`;
  return new Refused(response.status, message);
}

function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return request(path, { method: "POST", body: JSON.stringify(body), headers, signal });
}

/** Return the route that a text would take. */
export async function askRoute(body, signal) {
  return (await post("/v1/route", body, signal)).json();
}

/** Yield the chunks of an answer as the kernels write the answer. */
export async function* askAnswer(body, signal) {
  const response = await post("/v1/completions", { ...body, stream: true }, signal);
  for await (const data of events(response)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Refused(200, chunk.error.message);
    yield chunk;
  }
}

/** Yield the parts of the status that changed, the whole status first. */
export async function* statusParts(signal) {
  const response = await request("/status/events", { signal });
  for await (const data of events(response)) yield JSON.parse(data);
}

/** Yield the data of server-sent events. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    if (text.length > EVENT_CHARACTERS_MAX) throw new Error("an event is too long");
    const found = text.split("\n\n");
    text = found.pop();
    for (const event of found) yield event.replace(/^data: /, "");
  }
}
