"""What the paired gateway measures of itself, as Prometheus reads it."""

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from mcp_gw.metrics import rows, text

from .gateway import is_board

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Figures:
    """service: the Service they are of."""

    def __init__(self, service):
        self._service = service
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(self)

    def text(self):
        """Everything, bytes: first what every gateway measures."""
        return text(rows(self._service.gateway)) + generate_latest(self._registry)

    def describe(self):
        """Nothing beforehand: collect() would need a service that is complete."""
        return []

    def collect(self):
        """For prometheus_client: the figures of now."""
        service = self._service
        upstreams = service.gateway.hub.router.upstreams.values()
        keyed, calls = service.keyed, service.calls
        for what, board in (("boards", True), ("servers", False)):
            mine = [one for one in upstreams if is_board(one) == board]
            told = f"{what.capitalize()}, by whether they can be reached"
            family = GaugeMetricFamily(f"mcpgw_pi_{what}", told, labels=["state"])
            up = sum(bool(one.up) for one in mine)
            family.add_metric(["up"], up)
            family.add_metric(["down"], len(mine) - up)
            yield family
        family = CounterMetricFamily(
            "mcpgw_pi_keyed_calls", "Calls with a key, by what became of them", labels=["outcome"]
        )
        for outcome, count in calls.counts.items():
            family.add_metric([outcome], count)
        family.add_metric(["busy"], keyed.busy)
        yield family
        deliveries = keyed.deliveries
        for name, told, value in (
            ("batches", "Batches of boards taken", deliveries.batches),
            ("batch_calls", "Calls in them", deliveries.jobs),
            ("batch_outcomes", "Outcomes that went back with them", deliveries.answered),
            ("http_requests", "HTTP requests so far", service.asgi.requests),
            ("http_refused", "HTTP requests there was no room for", service.asgi.refused),
            ("tokens_refused", "Requests without a token that is known", service.guard.refused),
            ("store_errors", "Failures of the database", calls.failures),
        ):
            yield CounterMetricFamily("mcpgw_pi_" + name, told, value=value)
        for name, told, value in (
            ("keyed_calls_under_way", "Calls with a key that run now", keyed.under_way),
            ("http_requests_pending", "HTTP requests without an answer", service.asgi.pending),
            ("http_sessions", "Sessions of legacy clients", len(service.asgi.app.sessions)),
            ("store_ok", "Whether the last write to the database worked", calls.healthy),
        ):
            yield GaugeMetricFamily("mcpgw_pi_" + name, told, value=value)
