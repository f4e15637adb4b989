/** Keeps the status current: connects, connects again with a growing delay, and knows its age. */

import { Refused, statusParts } from "./client.js";

const DELAY_MIN_S = 1;
const DELAY_MAX_S = 30;
const SILENCE_MAX_S = 12;
const OLD_S = 4;

export class StatusStream {
  /** @param onStatus called with the whole status after every event */
  constructor(onStatus) {
    this.onStatus = onStatus;
    this.status = null;
    this.heardAt = 0;
    this.state = "connecting";
    this.problem = "";
    this.isRefused = false;
    this.retryAt = 0;
    this.failures = 0;
    this.wake = null;
    this.abort = null;
  }

  /** Follow the status for as long as the page is open. */
  async run() {
    for (;;) {
      await this.follow();
      await this.pause();
    }
  }

  /** Connect at once, without waiting for the delay. */
  now() {
    this.failures = 0;
    this.wake?.();
  }

  /** End a connection that has gone silent; called once a second. */
  check() {
    if (this.state === "live" && this.silence() > SILENCE_MAX_S) this.abort?.abort();
  }

  /** Seconds since the last event. */
  silence() {
    return (performance.now() - this.heardAt) / 1000;
  }

  /** Whether what is shown is no longer current. */
  isOld() {
    return this.status !== null && (this.state !== "live" || this.silence() > OLD_S);
  }

  /** Seconds until the next attempt to connect. */
  secondsToRetry() {
    return Math.max(0, (this.retryAt - performance.now()) / 1000);
  }

  async follow() {
    this.abort = new AbortController();
    this.state = this.status ? "connecting again" : "connecting";
    this.isRefused = false;
    try {
      for await (const parts of statusParts(this.abort.signal)) this.take(parts);
      this.problem = "the router ended the stream";
    } catch (error) {
      this.problem = error instanceof Refused ? error.message : "the router does not answer";
      this.isRefused = error.status === 401; // the user gave no token, and is not asked again
    }
    this.state = "lost";
    this.abort.abort();
  }

  take(parts) {
    this.status = { ...this.status, ...parts };
    this.state = "live";
    this.failures = 0;
    this.problem = "";
    this.heardAt = performance.now();
    this.onStatus(this.status);
  }

  pause() {
    const grown = Math.min(DELAY_MAX_S, DELAY_MIN_S * 2 ** this.failures);
    const delay = grown * (0.75 + 0.5 * Math.random()); // or all pages would come back at once
    this.failures += 1;
    this.retryAt = performance.now() + 1000 * delay;
    return new Promise((resolve) => {
      const timer = this.isRefused ? 0 : setTimeout(resolve, 1000 * delay);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
