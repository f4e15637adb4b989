/** Numbers and times as people read them. */

const LOCALE = "en";
const whole = new Intl.NumberFormat(LOCALE);
const BYTES = ["B", "kB", "MB", "GB", "TB"];

/** Return a whole number with separators. */
export const count = (value) => whole.format(value);

/** Return an angle in radians. */
export const radians = (value) => value.toFixed(2);

/** Return a share in [0, 1] as per cent. */
export function percent(value) {
  if (value === null || value === undefined) return "–";
  if (value > 0 && value < 0.01) return "< 1 %";
  return `${(100 * value).toFixed(0)} %`;
}

/** Return a rate; the smaller the rate, the more digits. */
export function rate(value) {
  if (value >= 10) return count(Math.round(value));
  return value === 0 ? "0" : value.toFixed(value >= 1 ? 1 : 2);
}

/** Return a duration of an answer; "–" without answers. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return `${(1000 * seconds).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
}

/** Return how long something has lasted, in its largest unit. */
export function age(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 2 * 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

/** Return an amount of bytes with a unit. */
export function bytes(value) {
  let unit = 0;
  while (value >= 1000 && unit < BYTES.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value.toFixed(value < 10 && unit ? 1 : 0)} ${BYTES[unit]}`;
}

/** Return the time of day of a moment in seconds since the epoch; with the date when not today. */
export function clock(seconds) {
  const moment = new Date(1000 * seconds);
  const today = moment.toDateString() === new Date().toDateString();
  const time = moment.toLocaleTimeString("en-GB");
  return today ? time : `${moment.toLocaleDateString("en-CA")} ${time.slice(0, 5)}`;
}

/** Return a number with its noun. */
export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
