-- For wrk: POSTs one tools/call after the other, with different ids and arguments.
--   wrk -s call.lua URL -- ERA [SESSION]
-- ERA is "legacy" (2025-11-25) or "modern" (2026-07-28), SESSION the value of Mcp-Session-Id. Prints
-- one JSON object at the end. Whether the answers are right is checked before and after (sdks.py):
-- reading each of them here would take longer than the server takes to make it.

local KINDS = 1000
local headers = {
  ["Content-Type"] = "application/json",
  ["Accept"] = "application/json, text/event-stream",
}
local body = '{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"add",'
  .. '"arguments":{"a":%d,"b":7}%s}}'
local requests = {}
local sent = 0

function init(args)
  local meta = ""
  headers["MCP-Protocol-Version"] = "2025-11-25"
  headers["Mcp-Session-Id"] = args[2]
  if args[1] == "modern" then
    headers["MCP-Protocol-Version"] = "2026-07-28"
    headers["Mcp-Method"] = "tools/call"
    headers["Mcp-Name"] = "add"
    meta = ',"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
      .. '"io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"},'
      .. '"io.modelcontextprotocol/clientCapabilities":{}}'
  end
  for i = 1, KINDS do
    requests[i] = wrk.format("POST", nil, headers, body:format(1000000 + i, i % 1000, meta))
  end
end

function request()
  sent = sent % KINDS + 1
  return requests[sent]
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\n{"per_s":%.1f,"p50_us":%.1f,"p99_us":%.1f,"max_us":%.1f,"requests":%d,"bad":%d}\n',
    summary.requests * 1e6 / summary.duration, latency:percentile(50), latency:percentile(99),
    latency.max, summary.requests, e.connect + e.read + e.write + e.status + e.timeout))
end
