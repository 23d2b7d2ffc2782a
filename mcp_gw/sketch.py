"""Arduino-style sketches: setup() once, loop() for ever, requests handled where the sketch wants
them.

from mcp_gw import sketch
from mcp_gw.sketch import get_request, has_request, process, send_response

def setup():
    gw = sketch.begin("thermometer")
    ...declare tools on gw...

def loop():
    if has_request():
        send_response(process(get_request()))

sketch.run(setup, loop)
"""

from .compat import const, run_until, sleep_ms
from .dispatch import Answer
from .gateway import Gateway
from .protocol.framing import ERROR_RESPONSE, RESPONSE, new_spans, scan
from .transports.serial import Console

# Requests that wait to be taken; beyond these the port is not read, and its flow control holds.
_MOST = const(8)

_gw = None
_port = None
_waiting = []  # requests read and not yet taken: what one read of the port brought
_spans = new_spans()


def begin(name, version="0", transport=None, **config):
    """Make the gateway that this sketch serves and open its port. Returns the Gateway.

    transport: a stream such as a machine.UART; default: the console (USB on most boards).
    """
    global _gw, _port
    if _gw:
        _gw.close()
    _gw = Gateway(name, version, **config)
    _waiting.clear()
    _gw.open(transport or Console(), take=_keep)
    _port = _gw.ports[0]
    return _gw


def _keep(port, buf, lo, hi):
    kind = scan(buf, lo, hi, _spans, _gw.config["max_depth"])
    if kind in (RESPONSE, ERROR_RESPONSE):
        _gw.dispatch.take(port, buf, lo, hi)  # a request that is being processed waits for it
    else:
        _waiting.append(bytes(memoryview(buf)[lo:hi]))


def has_request():
    """Read what has come in; whether a request waits to be taken."""
    if not _waiting:
        _gw.poll()
    return bool(_waiting)


def get_request():
    """The oldest waiting request as bytes (one JSON-RPC message), or None.

    It stays the oldest until it is processed."""
    return _waiting[0] if has_request() else None


def process(request):
    """Carry out a request and return its answer as bytes; b"" where none is due.

    While an asynchronous tool or an upstream takes its time, the port is read."""
    if _waiting and _waiting[0] is request:
        _waiting.pop(0)
    answer = Answer(_port.session, _port)
    _gw.dispatch.take(answer, request, 0, len(request))
    while _port.session.busy:
        if len(_waiting) < _MOST:
            _gw.poll()
        run_until(_moment())
    return answer.data


async def _moment():
    await sleep_ms(1)


def send_response(response):
    """Send an answer that process() returned, or one of the sketch's own making."""
    if response:
        _port.send([response])


def run(setup, loop):
    """Call setup(), then loop() again and again, until the input ends or Ctrl-C."""
    setup()
    try:
        while _gw.ports or _waiting:
            loop()
            if len(_waiting) < _MOST:
                _gw.poll()
    finally:
        _gw.close()
