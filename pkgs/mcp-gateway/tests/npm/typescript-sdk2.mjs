// Drives the official TypeScript SDK 2.x: `typescript-sdk2.mjs URL legacy|auto|REVISION [NAME]`, see `driving.mjs`.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

import { ASKABLE, TOLD, answers, obey, onprogress } from "./driving.mjs";

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
for (const [method, tell] of Object.entries(TOLD)) client.setNotificationHandler(method, ({ params }) => tell(params));

const transport = new StreamableHTTPClientTransport(new URL(url));
await client.connect(transport);
const isLegacy = client.getProtocolEra() === "legacy";
await obey(client, client.getNegotiatedProtocolVersion(), {
  call: ({ name: tool, arguments: given }) => client.callTool({ name: tool, arguments: given }, { onprogress }),
  watch: async ({ uri }) => {
    if (isLegacy) await client.subscribeResource({ uri });
    else await client.listen({ toolsListChanged: true, resourceSubscriptions: [uri] });
    return null;
  },
  leave: () => (isLegacy ? transport.terminateSession() : client.close()),
});
