// A call as a person can take it elsewhere: for a shell, for the command line, for a client of MCP.

// Whatever acts on a terminal, reorders a line or hides; what is copied here is pasted there.
// Line ends and tabs are no part of a text in JSON.
const HIDES = /[^\P{C}\n\t]|[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2028\u2029\u3164\uffa0]/gu;

// A tab that is pasted completes a word.
const ACTS = new RegExp(`${HIDES.source}|\\t`, "gu");

/** JSON that says the same with all of it visible: such characters stand in its texts only, which have escapes. */
export function visibly(json) {
  return json.replace(HIDES, (character) =>
    [...Array(character.length).keys()]
      .map((at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, "0")}`)
      .join(""));
}

/** One word of a POSIX shell, in which nothing hides. */
export function quoted(text) {
  if (/^[A-Za-z0-9_@%+=:,./-]+$/.test(text)) {
    return text;
  }
  const plain = `'${text.replaceAll("'", `'\\''`)}'`;
  // Each byte of what hides is written by printf, which every shell has. No line end is among them: those a
  // substitution would lose.
  return plain.replace(ACTS, (character) => `'"$(printf '${
    [...new TextEncoder().encode(character)].map((byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("")}')"'`);
}

/** The path of a tool in the API. */
export function toolPath(server, tool) {
  return `/api/tools/${encodeURIComponent(server)}/${encodeURIComponent(tool)}`;
}

/** A call by curl; a key is named where the gateway asks for one, and never written. */
export function asCurl({ server, tool, isGuarded }, text, base) {
  const words = ["curl", "-sS", quoted(base + toolPath(server, tool))];
  if (isGuarded) {
    words.push("-H", '"Authorization: Bearer $MCP_GATEWAY_KEY"');
  }
  words.push("-H", "'Content-Type: application/json'", "--data-raw", quoted(visibly(text)));
  return words.join(" ");
}

/** The same by the command line of the gateway. */
export function asCommand({ server, tool }, text, base) {
  return ["mcp-gateway call --url", quoted(base), quoted(`${server}/${tool}`), quoted(visibly(text))].join(" ");
}

/** The same as a client of MCP asks for it, at the endpoint of all servers. */
export function asRequest({ exposed }, text) {
  const params = { name: exposed };
  const head = visibly(JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params }, null, 2));
  // Put in as it was written: scripts do not hold every number that JSON does.
  return head.replace(/\n {2}\}\n\}$/, () => `,\n    "arguments": ${visibly(text).replaceAll("\n", "\n    ")}\n  }\n}`);
}
