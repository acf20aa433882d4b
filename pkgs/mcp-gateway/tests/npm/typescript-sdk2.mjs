// Drives the official TypeScript SDK 2.x: `typescript-sdk2.mjs URL legacy|auto|REVISION [NAME]`, see `driving.mjs`.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

import { ASKABLE, answers, heard, obey, onprogress } from "./driving.mjs";

const [url, mode, name] = process.argv.slice(2);
const client = new Client(
  { name: "typescript-sdk2", version: "0" },
  {
    capabilities: name ? ASKABLE : {},
    versionNegotiation: { mode: ["legacy", "auto"].includes(mode) ? mode : { pin: mode } },
  },
);
if (name) {
  for (const [method, answer] of Object.entries(answers(name))) client.setRequestHandler(method, answer);
}
client.setNotificationHandler("notifications/message", ({ params }) => heard("log", params));

const transport = new StreamableHTTPClientTransport(new URL(url));
await client.connect(transport);
const call = ({ name: tool, arguments: given }) => client.callTool({ name: tool, arguments: given }, { onprogress });
const leave = () => (client.getProtocolEra() === "legacy" ? transport.terminateSession() : client.close());
await obey(client, client.getNegotiatedProtocolVersion(), call, leave);
