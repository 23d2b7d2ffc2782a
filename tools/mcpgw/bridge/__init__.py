"""The bridge: one stdio MCP client, one board on a serial port, upstream servers over HTTP.

No module here has global state or knows stdio, save `command` and `stdio`: a process that joins
several boards makes several `Board`, `Session` and `Relay` objects around the same upstreams.
"""
