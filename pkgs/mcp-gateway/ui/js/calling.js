// A call to the gateway as a stream: progress and log as they come, then one ending. Nothing hangs: whatever
// happens to the connection is an ending too.

const FACE = { "mcp-gateway-face": "ui" }; // a label for the activity, and no more

/**
 * Sends a call. `on.progress`, `on.log` and `on.begin` (the call's id) hear what happens. Answers
 * `{ result, text }`, `{ problem }` (problem details), or `{ gone }`, a sentence.
 */
export async function call(path, { method = "POST", body, signal, on = {} }) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      body,
      signal,
      headers: { accept: "text/event-stream", ...FACE, ...(body === undefined ? {} : { "content-type": "application/json" }) },
    });
  } catch {
    return { gone: signal?.aborted ? "Cancelled." : "The gateway could not be reached." };
  }
  if (!answer.headers.get("content-type")?.startsWith("text/event-stream")) {
    return plain(answer);
  }
  on.begin?.(answer.headers.get("mcp-gateway-call") ?? "");
  try {
    for await (const [name, data] of events(answer.body)) {
      if (name === "result") {
        return { result: JSON.parse(data), text: data };
      }
      if (name === "error") {
        return { problem: JSON.parse(data) };
      }
      on[name]?.(JSON.parse(data));
    }
  } catch {
    if (signal?.aborted) {
      return { gone: "Cancelled." };
    }
  }
  return { gone: "The connection ended before the answer came. The call may have been done all the same; Activity knows." };
}

async function plain(answer) {
  try {
    const text = await answer.text();
    const value = JSON.parse(text);
    return answer.ok ? { result: value, text } : { problem: value };
  } catch {
    return { gone: `The gateway answered with status ${answer.status} and nothing that can be read.` };
  }
}

/** The events of a stream, each as name and data. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) {
        return;
      }
      rest += value;
      // Searched once per piece: a large result comes in thousands of them.
      if (!value.includes("\n")) {
        continue;
      }
      const parts = rest.split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        let name = "message";
        const data = [];
        for (const line of part.split("\n")) {
          if (line.startsWith("event: ")) {
            name = line.slice(7);
          } else if (line.startsWith("data: ")) {
            data.push(line.slice(6));
          }
        }
        if (data.length) {
          yield [name, data.join("\n")];
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Takes a running call back. */
export function cancel(id) {
  return fetch(`/api/calls/${encodeURIComponent(id)}`, { method: "DELETE" }).catch(() => null);
}
