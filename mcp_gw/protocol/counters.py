"""What a gateway counts while it works; GET /metrics tells it."""

from ..compat import const

# Distinct codes that are told apart: an upstream can answer with any.
_MOST_CODES = const(32)


class Counters:
    """requests: dict of method (JSON text, bytes) -> how many came; errors: dict of JSON-RPC code
    -> how many were answered, 0: of all further codes; tool_errors: how many tools failed."""

    def __init__(self):
        self.requests = {}
        self.errors = {}
        self.tool_errors = 0

    def request(self, method):
        """method: one that is known, since each takes memory."""
        requests = self.requests
        requests[method] = requests.get(method, 0) + 1

    def error(self, code):
        errors = self.errors
        if code not in errors and len(errors) >= _MOST_CODES:
            code = 0
        errors[code] = errors.get(code, 0) + 1
