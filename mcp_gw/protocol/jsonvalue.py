"""Python values as JSON text that is safe to send."""

import json

from ..compat import MICROPYTHON
from .framing import new_spans, scan
from .jsontext import mended

_SCRATCH = new_spans()


def dumps(value):
    """Compact JSON as bytes. What has no JSON form raises, or gives text that is no JSON."""
    data = json.dumps(value, separators=(",", ":")).encode()
    return mended(data) if MICROPYTHON else data


def checked(value):
    """`value` as JSON bytes, or None where it has no JSON form (NaN, sets, unknown objects)."""
    try:
        data = dumps(value)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: nested too deeply
        return None
    if type(value) is not int:
        whole = b'{"jsonrpc":"2.0","id":1,"result":' + data + b"}"
        if scan(whole, 0, len(whole), _SCRATCH, 64) < 0:
            return None
    return data
