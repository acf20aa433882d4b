// Where a text stops being JSON: browsers say it each in their own way, and some not at all.

const TOKEN =
  // eslint-disable-next-line no-control-regex
  /("(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")|(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)|([{}[\],:])/y;
const BLANK = /[ \t\r\n]*/y;

/** The position of the first mistake, or -1 where there is none. */
export function mistake(text) {
  const ends = []; // of what is open
  let wanted = "value"; // or `item` (which may be none), `key` (likewise), `name`, `colon`, `after`
  for (let at = 0; ; at = TOKEN.lastIndex) {
    BLANK.lastIndex = at;
    at += BLANK.exec(text)[0].length;
    if (at === text.length) {
      return wanted === "after" && !ends.length ? -1 : at;
    }
    TOKEN.lastIndex = at;
    const found = TOKEN.exec(text);
    if (!found) {
      return at;
    }
    const [, string, literal, mark] = found;
    const mayBegin = wanted === "value" || wanted === "item";
    if ((string || literal) && mayBegin) {
      wanted = "after";
    } else if (string && (wanted === "key" || wanted === "name")) {
      wanted = "colon";
    } else if ((mark === "{" || mark === "[") && mayBegin) {
      ends.push(mark === "{" ? "}" : "]");
      wanted = mark === "{" ? "key" : "item";
    } else if (mark && mark === ends.at(-1) && ["after", mark === "}" ? "key" : "item"].includes(wanted)) {
      ends.pop();
      wanted = "after";
    } else if (mark === ":" && wanted === "colon") {
      wanted = "value";
    } else if (mark === "," && wanted === "after" && ends.length) {
      wanted = ends.at(-1) === "}" ? "name" : "value";
    } else {
      return at;
    }
  }
}
