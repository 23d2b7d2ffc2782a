"""A Model Context Protocol gateway for microcontrollers.

Public names are loaded when they are first used, so that what an app leaves alone costs no RAM.
"""

__version__ = "0.1.0"

_WHERE = {
    "Context": "context",
    "Gateway": "gateway",
    "Model": "infer.model",
    "Param": "params",
    "ProtocolError": "errors",
    "Queueable": "route.queueable",
    "Stream": "infer.stream",
    "Tokenizer": "infer.tokenizer",
    "ToolError": "errors",
}


def __getattr__(name):
    if name[0] == "_":
        raise AttributeError(name)
    where = _WHERE.get(name)
    try:
        # On MicroPython a submodule is looked for here too.
        module = __import__("mcp_gw." + (where or name), None, None, (name,), 0)
    except ImportError as e:
        if where:
            raise
        raise AttributeError(name) from e
    return getattr(module, name) if where else module
