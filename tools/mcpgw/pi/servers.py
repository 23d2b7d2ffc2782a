"""The MCP servers behind the paired gateway."""

from mcp_gw.errors import ConfigError
from mcp_gw.route.http_upstream import HttpUpstream

from .. import UserError, __version__
from .stdio_server import StdioUpstream

# Longest answer of a server, or event of its stream, in bytes.
MAX_BODY = 4 << 20
# Requests under way at one server.
MAX_PENDING = 1024
CLIENT = ("mcpgw pi", __version__)


class Server(HttpUpstream):
    """A server over HTTP, with a time-out of its own for each request, whoever makes it."""

    async def request(self, method, params_parts, timeout_ms=None, on_progress=None, can=b"{}"):
        return await super().request(method, params_parts, self.timeout_ms, on_progress, can)


def open_servers(gateway, config, log):
    """Make the configured servers upstreams of the gateway; dict of name -> Upstream. Raises
    UserError."""
    found = {}
    if config.routing or any(server.same_as for server in config.servers.values()):
        gateway.routing(config.routing)
    for name, server in config.servers.items():
        timeout_ms = int(server.timeout_s * 1000)
        try:
            if server.url:
                upstream = Server(
                    name,
                    server.url,
                    server.headers,
                    server.ca,
                    timeout_ms=timeout_ms,
                    max_body=MAX_BODY,
                    connections=server.connections,
                    client=CLIENT,
                )
            else:
                upstream = StdioUpstream(
                    name, server.command, log, server.environment, server.folder, timeout_ms
                )
            if server.url:
                upstream.client.MAX_PENDING = MAX_PENDING
            upstream.offers = server.offers
            upstream.same_as = server.same_as
            gateway.hub.add(upstream, (), gateway.config["queue_expiry_s"])
        except ConfigError as e:
            raise UserError(f"{config.file}: [servers.{name}]: {e}") from e
        found[name] = upstream
    return found
