# ruff: noqa: F821 (makemanifest.py provides these functions)
# Frozen into every port: the gateway, and the asyncio it runs on.
include("$(MPY_DIR)/extmod/asyncio")
package("mcp_gw", base_path="..")
