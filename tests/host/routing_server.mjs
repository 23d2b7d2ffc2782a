// routing_server.py on the official TypeScript SDK: `routing_server.mjs MODULES PORT LEDGER`.
import { appendFileSync, existsSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { randomUUID } from "node:crypto";

const [folder, port, ledger] = process.argv.slice(2);
const require = createRequire(folder + "/");
const { McpServer } = require("@modelcontextprotocol/sdk/server/mcp.js");
const { StreamableHTTPServerTransport } = require("@modelcontextprotocol/sdk/server/streamableHttp.js");
const { isInitializeRequest } = require("@modelcontextprotocol/sdk/types.js");
const { z } = require("zod");

const release = ledger.replace(/\.ledger$/, ".release");
const note = (text) => appendFileSync(ledger, text + "\n");
const said = (text) => ({ content: [{ type: "text", text }] });

async function held(extra, name) {
  note(name);
  const token = extra._meta?.progressToken;
  for (let progress = 1; !existsSync(release); progress++) {
    if (extra.signal.aborted) {
      note(`${name} cancelled`);
      return said("cancelled");
    }
    if (token !== undefined) {
      const params = { progressToken: token, progress };
      await extra.sendNotification({ method: "notifications/progress", params });
    }
    await new Promise((done) => setTimeout(done, 50));
  }
  return said(`${name} by typescript`);
}

function makeServer() {
  const server = new McpServer({ name: "typescript", version: "1" });
  const inputSchema = { a: z.number().int(), b: z.number().int() };
  server.registerTool("add", { description: "Sum", inputSchema }, async ({ a, b }) => {
    note("add");
    return said(String(a + b));
  });
  const text = { text: z.string() };
  server.registerTool("complete", { description: "Text", inputSchema: text }, async ({ text }) => {
    note("complete");
    return said(`typescript: ${text}`);
  });
  const annotations = { idempotentHint: true };
  server.registerTool("level", { description: "May be repeated", annotations }, (extra) => held(extra, "level"));
  server.registerTool("once", { description: "May not" }, (extra) => held(extra, "once"));
  server.registerResource("sky", "note://sky", {}, async (uri) => {
    note("sky");
    return { contents: [{ uri: uri.href, text: "grey" }] };
  });
  return server;
}

const sessions = {};

async function body(request) {
  let text = "";
  for await (const piece of request) text += piece;
  return text ? JSON.parse(text) : undefined;
}

createServer(async (request, response) => {
  const parsed = request.method === "POST" ? await body(request) : undefined;
  let transport = sessions[request.headers["mcp-session-id"]];
  if (!transport && isInitializeRequest(parsed)) {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => {
        sessions[id] = transport;
      },
    });
    await makeServer().connect(transport);
  }
  if (!transport) {
    const error = { code: -32000, message: "Bad Request: no valid session" };
    response.writeHead(400, { "Content-Type": "application/json" });
    response.end(JSON.stringify({ jsonrpc: "2.0", id: null, error }));
    return;
  }
  await transport.handleRequest(request, response, parsed);
}).listen(Number(port), "127.0.0.1");
