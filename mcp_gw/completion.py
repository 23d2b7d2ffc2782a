"""completion/complete: what an argument of a prompt or a template may be."""

from .errors import INVALID_PARAMS, ProtocolError
from .protocol.jsonvalue import dumps

_MOST = 100  # values in one answer


def complete(dispatch, request, buf):
    """JSON text of the completion object; a coroutine giving it where the function behind the
    argument is async. Raises ProtocolError for a request that names nothing known."""
    server = dispatch._server
    params = server.params(buf, server.spans)
    ref = params.get("ref")
    argument = params.get("argument")
    if not isinstance(ref, dict) or not isinstance(argument, dict):
        raise ProtocolError(INVALID_PARAMS, "ref and argument must be objects")
    name, value = argument.get("name"), argument.get("value")
    if not isinstance(name, str) or not isinstance(value, str):
        raise ProtocolError(INVALID_PARAMS, "argument has a name and a value, both strings")
    registry = server.registry
    item = None
    if ref.get("type") == "ref/prompt":
        if isinstance(ref.get("name"), str):
            item = registry.prompts.get(ref["name"])
    elif ref.get("type") == "ref/resource":
        uri = ref.get("uri")
        if isinstance(uri, str):
            item = registry.templates.get(uri) or registry.resources.get(uri)
    else:
        raise ProtocolError(INVALID_PARAMS, "ref.type is ref/prompt or ref/resource")
    if item is None:
        raise ProtocolError(INVALID_PARAMS, "ref names nothing that is here")
    param = item.params.get(name)
    if param is None:
        raise ProtocolError(INVALID_PARAMS, "it has no argument " + name)
    context = params.get("context")
    others = context.get("arguments") if isinstance(context, dict) else None
    source = param.complete if param.complete is not None else param.enum or ()
    if not callable(source):
        return _completion(_matching(source, value))
    found = source(value, others if isinstance(others, dict) else {})
    return _later(found) if hasattr(found, "send") else _completion(found)


async def _later(found):
    return _completion(await found)


def _matching(values, start):
    start = start.lower()
    return [v for v in values if str(v).lower().startswith(start)]


def _completion(values):
    rows = [str(value) for value in values]
    return dumps({"values": rows[:_MOST], "total": len(rows), "hasMore": len(rows) > _MOST})
