// Text of servers as it may be shown, as `visible.py` does it: nothing in it reorders a line or hides.

// eslint-disable-next-line no-control-regex
const UNSAFE = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f]/g;
const MARKS =
  /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2028\u2029\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\u{e0000}-\u{e0fff}]/gu;
const HALVES = /\p{Surrogate}/gu;

function hex(character, width) {
  return character.codePointAt(0).toString(16).padStart(width, "0");
}

function mark(character) {
  return character.codePointAt(0) < 0x10000 ? `\\u${hex(character, 4)}` : `\\U${hex(character, 8)}`;
}

/** One line with everything in it visible. */
function line(text) {
  return text
    .replace(UNSAFE, (character) => `\\x${hex(character, 2)}`)
    .replace(MARKS, mark)
    .replace(HALVES, mark);
}

/** The text with everything visible; its line breaks stay where `lines` may. */
export function safe(text, lines = true) {
  return lines ? text.replaceAll("\r\n", "\n").split("\n").map(line).join("\n") : line(text);
}
