// Drives the official TypeScript SDK 1.x: `typescript-sdk1.mjs URL [NAME]`, see `driving.mjs`.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import * as types from "@modelcontextprotocol/sdk/types.js";

import { ASKABLE, TOLD, answers, obey, onprogress } from "./driving.mjs";

const [url, name] = process.argv.slice(2);
const client = new Client({ name: "typescript-sdk1", version: "0" }, { capabilities: name ? ASKABLE : {} });
if (name) {
  const by = answers(name);
  client.setRequestHandler(types.ElicitRequestSchema, by["elicitation/create"]);
  client.setRequestHandler(types.CreateMessageRequestSchema, by["sampling/createMessage"]);
  client.setRequestHandler(types.ListRootsRequestSchema, by["roots/list"]);
}
const told = [
  types.LoggingMessageNotificationSchema,
  types.ToolListChangedNotificationSchema,
  types.ResourceUpdatedNotificationSchema,
];
for (const schema of told) client.setNotificationHandler(schema, ({ method, params }) => TOLD[method](params));

const transport = new StreamableHTTPClientTransport(new URL(url));
await client.connect(transport);
await obey(client, transport.protocolVersion, {
  call: ({ name: tool, arguments: given }) => client.callTool({ name: tool, arguments: given }, undefined, { onprogress }),
  watch: ({ uri }) => client.subscribeResource({ uri }),
  leave: () => transport.terminateSession(),
});
