"""A gateway as an application for whatever speaks HTTP: our own listener, or somebody else's."""

from .errors import ConfigError
from .protocol.http_sessions import Sessions
from .protocol.streamable_server import Site, StreamableServer
from .transports.link import random_hex


def http_app(
    gateway, path, loopback, hosts=(), origins=(), guard=None, endpoints=True, figures=None
):
    """The StreamableServer of a gateway.

    path: of the MCP endpoint; loopback: whether only this machine can reach us; hosts, origins:
    lists of str, see Site; guard, endpoints: the hooks that transports/tcp.py describes, endpoints
    True: those of endpoints.py; figures: what these tell in /metrics. Raises ConfigError.
    """
    if not isinstance(path, str) or path[:1] != "/":
        raise ConfigError("path begins with /")
    if endpoints is True:
        from .endpoints import Endpoints

        endpoints = Endpoints(gateway, figures)
    config = gateway.config
    sessions = Sessions(
        config["http_sessions"],
        config["http_session_s"] * 1000,
        config["http_replay_bytes"],
        lambda: random_hex(32),
        gateway.join,
        gateway.leave,
    )
    return StreamableServer(
        gateway.dispatch.take,
        gateway.leave,
        gateway.registry.tools,
        sessions,
        path,
        Site(loopback, _lower("hosts", hosts), _lower("origins", origins)),
        guard,
        endpoints or None,
        gateway.log_exception,
    )


def _lower(name, given):
    if isinstance(given, str):
        given = (given,)
    for text in given:
        if not isinstance(text, str):
            raise ConfigError("%s must be a list of text" % name)
    return {text.lower() for text in given}
