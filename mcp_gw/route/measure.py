"""What decides between places, beside what is known of the places themselves."""

import gc

from ..compat import ticks_ms
from ..protocol.framing import ARGUMENTS


def measure(routing, snapshot, passage):
    """Add it to the snapshot for decide(), as far as the strategy needs it."""
    rules = passage.rules
    strategy = rules["strategy"]
    if strategy == "complexity" or strategy == "hybrid":
        snapshot["tokens"] = _tokens(routing, passage)
        snapshot["cost"] = rules["cost"]
    if strategy == "resources" or strategy == "hybrid":
        routing.look(ticks_ms())
        outbox = routing.hub.forwarder.outbox
        snapshot["running"] = len(routing.running)
        snapshot["waiting"] = 0 if outbox is None else outbox.pending
        snapshot["loaded"], need = _model(routing.gateway, passage, rules)
        snapshot["heap_need"] = need
        snapshot["heap_free"] = _heap_free(rules["min_heap"] + need)
        profile = _profile(routing)
        for name in ("battery", "temperature_c"):
            value = profile.get(name)
            snapshot[name] = value if type(value) in (int, float) else None


def _tokens(routing, passage):
    """How many tokens the arguments have."""
    message, spans = routing.scanned(passage.params)
    lo, hi = spans[2 * ARGUMENTS], spans[2 * ARGUMENTS + 1]
    if lo < 0:
        return passage.size // 4
    vocabulary = _vocabulary(routing.gateway)
    if vocabulary is None:
        return (hi - lo) // 4
    return vocabulary.count(str(memoryview(message)[lo:hi], "utf-8"))


def _vocabulary(gateway):
    for name in gateway.tokenizers or ():
        return gateway.tokenizers[name]
    for name in gateway.models or ():
        found = getattr(gateway.models.get(name), "tokenizer", None)
        if found is not None:
            return found
    return None


def _model(gateway, passage, rules):
    """(whether the model of the gateway's own tool is in RAM, bytes of RAM that it would take)."""
    models = gateway.models
    if models is None or passage.tool is None:
        return True, 0
    name = rules["model"]
    if name is None and passage.what in (gateway.built_in or ()) and len(models) == 1:
        name = next(iter(models))
    if name is None or name not in models:
        return True, 0
    model = models.get(name)
    return model.loaded, 0 if model.loaded else model.arena_bytes


def _heap_free(wanted):
    """Bytes of heap that are free, garbage collected if there seem to be less than wanted; None on
    a computer."""
    if not hasattr(gc, "mem_free"):
        return None
    free = gc.mem_free()
    if free < wanted:
        gc.collect()
        free = gc.mem_free()
    return free


def _profile(routing):
    """What the user's function says of the device."""
    function = routing.options["profile"]
    if function is None or function is routing.profile_failed:
        return {}
    try:
        found = function()
        if isinstance(found, dict):
            return found
        why = "it returned a %s" % type(found).__name__
    except Exception as e:
        why = "%s: %s" % (type(e).__name__, e)
    routing.profile_failed = function  # once is enough for the log
    routing.gateway.log("routing: profile is not asked any more: %s\n" % why)
    return {}
