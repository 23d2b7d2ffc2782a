"""mcp-edge.toml: checked here, compiled for a board, read back from it (docs/configuration.md)."""
