// The official TypeScript SDK of the first line, @modelcontextprotocol/sdk: legacy only.
import { answer, load, main, server, url } from "./scenario.mjs";

const { Client } = load("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = load("@modelcontextprotocol/sdk/client/stdio.js");
const { StreamableHTTPClientTransport } = load(
  "@modelcontextprotocol/sdk/client/streamableHttp.js",
);
const { ElicitRequestSchema } = load("@modelcontextprotocol/sdk/types.js");

async function connect() {
  const asked = [];
  const client = new Client(
    { name: "typescript-v1", version: "1.0" },
    { capabilities: { elicitation: { form: {} } } },
  );
  client.setRequestHandler(ElicitRequestSchema, (request) => answer(request, asked));
  const transport = url ? new StreamableHTTPClientTransport(url) : new StdioClientTransport(server);
  // The transport is told the revision; over stdio nobody asks it, so it is kept here.
  let revision;
  const tell = transport.setProtocolVersion?.bind(transport);
  transport.setProtocolVersion = (version) => {
    revision = version;
    tell?.(version);
  };
  await client.connect(transport);
  const call = (params, options) => client.callTool(params, undefined, options);
  return { client, revision, call, asked };
}

await main(connect());
