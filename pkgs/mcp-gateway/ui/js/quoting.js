// A call as a person can take it elsewhere: for a shell, for the command line, for a client of MCP.

/** One word of a POSIX shell, whatever is in it. */
export function quoted(text) {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
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
  words.push("-H", "'Content-Type: application/json'", "--data-raw", quoted(text));
  return words.join(" ");
}

/** The same by the command line of the gateway. */
export function asCommand({ server, tool }, text, base) {
  return ["mcp-gateway call --url", quoted(base), quoted(`${server}/${tool}`), quoted(text)].join(" ");
}

/** The same as a client of MCP asks for it, at the endpoint of all servers. */
export function asRequest({ exposed }, text) {
  const head = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: exposed } }, null, 2);
  // Put in as it was written: scripts do not hold every number that JSON does.
  return head.replace(/\n {2}\}\n\}$/, () => `,\n    "arguments": ${text.replaceAll("\n", "\n    ")}\n  }\n}`);
}
