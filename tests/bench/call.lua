-- For wrk: POSTs one tools/call after the other, ids and arguments varying, and looks at one answer
-- in a hundred.  wrk -s call.lua URL -- ERA [SESSION], with ERA "legacy" or "modern".

local headers = {
  ["Content-Type"] = "application/json",
  ["Accept"] = "application/json, text/event-stream",
}
local body = '{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"add",'
  .. '"arguments":{"a":%d,"b":7}%s}}'
local meta = ""
local sent, answers = 0, 0
wrong = 0 -- global, so that done() can read it in each thread
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
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
end

function request()
  sent = sent + 1
  return wrk.format("POST", nil, headers, body:format(1000000 + sent, sent % 1000, meta))
end

function response(status, fields, text)
  answers = answers + 1
  if status ~= 200 then
    wrong = wrong + 1
  elseif answers % 100 == 0 then
    -- Ids are handed out one by one, and a = id % 1000.
    local id, sum = text:match('"id":(%d+)'), text:match('"text":"(%d+)"')
    if not id or not sum or tonumber(sum) ~= tonumber(id) % 1000 + 7 then
      wrong = wrong + 1
    end
  end
end

function done(summary, latency, requests)
  local bad = 0
  for _, thread in ipairs(threads) do
    bad = bad + thread:get("wrong")
  end
  local e = summary.errors
  bad = bad + e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format(
    '\n{"per_s":%.1f,"p50_us":%.1f,"p99_us":%.1f,"max_us":%.1f,"requests":%d,"bad":%d}\n',
    summary.requests * 1e6 / summary.duration, latency:percentile(50), latency:percentile(99),
    latency.max, summary.requests, bad))
end
