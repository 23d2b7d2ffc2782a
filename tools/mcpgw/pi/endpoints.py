"""The plain HTTP endpoints of the paired gateway: those of every gateway, with its own figures."""

from mcp_gw.endpoints import Endpoints
from mcp_gw.replies import json_answer

from .gateway import is_board
from .metrics import CONTENT_TYPE


class PiEndpoints(Endpoints):
    """service: the Service."""

    def __init__(self, service):
        super().__init__(service.gateway)
        self._service = service

    def _health(self, query, headers, body, respond):
        status, fields, body = json_answer(200, health(self._service))
        respond(status, fields, [body])

    def _completions(self, query, headers, body, respond):
        self.principal = self._service.guard.named(headers)
        try:
            super()._completions(query, headers, body, respond)
        finally:
            self.principal = None

    def _metrics(self, query, headers, body, respond):
        fields = [("Content-Type", CONTENT_TYPE), ("Cache-Control", "no-store")]
        respond(200, fields, [self._service.figures.text()])


def health(service):
    """How the service is (dict)."""
    gateway = service.gateway
    states = {True: {}, False: {}}
    for upstream in gateway.hub.router.upstreams.values():
        states[is_board(upstream)][upstream.name] = "up" if upstream.up else "down"
    calls = service.calls
    return {
        "status": "ok" if calls.healthy else "failing",
        "name": gateway.name,
        "version": gateway.version,
        "uptime_s": gateway.clock.uptime_s,
        "boards": states[True],
        "servers": states[False],
        "calls_under_way": service.keyed.under_way,
        "store": "ok" if calls.healthy else calls.trouble,
    }
