// The official TypeScript client of the second line, @modelcontextprotocol/client, in either era.
import { answer, era, load, main, server, url } from "./scenario.mjs";

const { Client, StreamableHTTPClientTransport } = load("@modelcontextprotocol/client");
const { StdioClientTransport } = load("@modelcontextprotocol/client/stdio");

async function connect() {
  const asked = [];
  const client = new Client(
    { name: "typescript-v2", version: "1.0" },
    {
      capabilities: { elicitation: { form: {} } },
      versionNegotiation: { mode: era === "modern" ? { pin: "2026-07-28" } : era },
    },
  );
  client.setRequestHandler("elicitation/create", (request) => answer(request, asked));
  const transport = url ? new StreamableHTTPClientTransport(url) : new StdioClientTransport(server);
  await client.connect(transport);
  const call = (params, options) => client.callTool(params, options);
  return { client, revision: client.getNegotiatedProtocolVersion(), call, asked };
}

await main(connect());
