"""`mcpgw pi`: the paired gateway, one MCP endpoint for many boards and the servers behind them."""
