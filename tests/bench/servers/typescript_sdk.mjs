// The same on the official TypeScript SDK: `typescript_sdk.mjs MODULES stdio` or `... http PORT`, where
// MODULES is a node_modules folder. Over HTTP as its documentation has it for stateless servers that
// answer with JSON: a server and a transport for each request, on node's own http.
import { createServer } from "node:http";
import { createRequire } from "node:module";

const [folder, how, port] = process.argv.slice(2);
const require = createRequire(folder + "/");
const { McpServer } = require("@modelcontextprotocol/sdk/server/mcp.js");
const { StdioServerTransport } = require("@modelcontextprotocol/sdk/server/stdio.js");
const { StreamableHTTPServerTransport } = require("@modelcontextprotocol/sdk/server/streamableHttp.js");
const { z } = require("zod");

const inputSchema = { a: z.number().int(), b: z.number().int() };

function makeServer() {
  const server = new McpServer({ name: "bench", version: "1" });
  server.registerTool(
    "add",
    { description: "The sum of two numbers", inputSchema },
    async ({ a, b }) => ({ content: [{ type: "text", text: String(a + b) }] }),
  );
  return server;
}

if (how === "stdio") {
  await makeServer().connect(new StdioServerTransport());
} else {
  createServer(async (request, response) => {
    const server = makeServer();
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: undefined,
      enableJsonResponse: true,
    });
    response.on("close", () => {
      transport.close();
      server.close();
    });
    await server.connect(transport);
    await transport.handleRequest(request, response);
  }).listen(Number(port), "127.0.0.1");
}
