/** The words of a question: splitting, striking out, and how far each moved the basin. */

export const WORDS_MAX = 200;
export const SHADES = 5;

const WORD = /[\p{L}\p{N}\p{M}_]+|[^\s\p{L}\p{N}\p{M}_]+/gu;

/** Return the words of a text as {text, start, end}, at most `WORDS_MAX`. */
export function splitWords(text) {
  const words = [];
  for (const found of text.matchAll(WORD)) {
    if (words.length === WORDS_MAX) break;
    words.push({ text: found[0], start: found.index, end: found.index + found[0].length });
  }
  return words;
}

/** Return the text without the words of these indices. */
export function without(text, words, struck) {
  let left = "";
  let place = 0;
  words.forEach((word, index) => {
    if (!struck.has(index)) return;
    left += text.slice(place, word.start);
    place = word.end;
  });
  return left + text.slice(place);
}

/**
 * Return for each word the sum of the shifts of its tokens, in radians.
 *
 * A reply names the tokens that moved the basin most by their text and position. A token stands
 * where its text occurs nearest to the share of the text that its position has of all tokens.
 */
export function wordShifts(text, words, influences, numTokens) {
  const shifts = words.map(() => 0);
  const taken = new Set();
  for (const influence of influences) {
    const wanted = influence.text.trim();
    if (!wanted) continue;
    const expected = (text.length * influence.position) / Math.max(1, numTokens);
    const start = nearestPlace(text, wanted, expected, taken);
    if (start < 0) continue;
    taken.add(start);
    addShift(shifts, words, start, start + wanted.length, influence.shift);
  }
  return shifts;
}

function nearestPlace(text, wanted, expected, taken) {
  let best = -1;
  for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + 1)) {
    if (taken.has(at)) continue;
    if (best < 0 || Math.abs(at - expected) < Math.abs(best - expected)) best = at;
  }
  return best;
}

function addShift(shifts, words, start, end, shift) {
  const touched = words.flatMap((word, index) =>
    word.start < end && word.end > start ? [index] : []);
  for (const index of touched) shifts[index] += shift / touched.length;
}

/** Return the shade of a shift, 0 to `SHADES`: 0 for none, `SHADES` for the largest of all. */
export function shade(shift, largest) {
  return shift > 0 ? Math.max(1, Math.ceil((SHADES * shift) / largest)) : 0;
}
