// What the programs beside this have in common: `tests/clients/programs/driving.py` says what they read and write.

import { createInterface } from "node:readline";

export function say(message) {
  process.stdout.write(JSON.stringify(message) + "\n");
}

export function heard(what, params) {
  say({ heard: what, params });
}

// How a client of that name answers what a server asks; its name is in each answer.
export function answers(name) {
  return {
    "elicitation/create": ({ params }) => {
      heard("elicitation", params);
      return { action: "accept", content: { name } };
    },
    "sampling/createMessage": ({ params }) => {
      heard("sampling", params);
      return { role: "assistant", content: { type: "text", text: `sampled by ${name}` }, model: "none" };
    },
    "roots/list": () => ({ roots: [{ uri: `file:///of/${name}`, name }] }),
  };
}

export const ASKABLE = { elicitation: {}, sampling: {}, roots: {} };

export async function obey(client, speaks, { call, watch, leave }) {
  const verbs = {
    tools: () => client.listTools(),
    call,
    watch,
    resources: () => client.listResources(),
    templates: () => client.listResourceTemplates(),
    read: ({ uri }) => client.readResource({ uri }),
    prompts: () => client.listPrompts(),
    prompt: ({ name, arguments: given }) => client.getPrompt({ name, arguments: given }),
    level: ({ level }) => client.setLoggingLevel(level),
  };
  say({ speaks, instructions: client.getInstructions() ?? null });
  for await (const line of createInterface({ input: process.stdin })) {
    const order = JSON.parse(line);
    verbs[order.do](order).then(
      (result) => say({ id: order.id, result }),
      ({ code, message, data, stack }) => say({ id: order.id, refused: { code, message, data, as: stack } }),
    );
  }
  await leave();
  process.exit(0);
}

// What is said by itself, by method.
export const TOLD = {
  "notifications/message": (params) => heard("log", params),
  "notifications/tools/list_changed": () => heard("change", "tools"),
  "notifications/resources/updated": ({ uri }) => heard("change", uri),
};

export const onprogress = (params) => heard("progress", params);
