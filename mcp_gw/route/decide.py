"""Where a request is carried out: a pure function of what is known at the moment."""

LOCAL = "local"
QUEUE = "queue"
REFUSE = "refuse"


def decide(snapshot, rules):
    """Returns (where, why): "local", an upstream's name, "queue" or "refuse", and a text.

    snapshot: dict with
    places: list of dicts, the preferred first: name; barred: None, or why it cannot be asked;
    latency_ms, failures (0 to 1): its means, latency_ms None while they are not known; requests:
    in flight; max_requests;
    queueable: whether the call may wait; tokens, bytes, cost: of the request; heap_free, heap_need
    (of a model that is not loaded), battery (0 to 1), temperature_c: None where not known; loaded:
    False for a model that is not in RAM; running: calls that this gateway carries out itself;
    waiting: calls in the queue.
    rules: dict of options (docs/routing.md).
    """
    barred = []
    free = []
    only = rules["only"]
    for place in snapshot["places"]:
        why = place["barred"]
        if only is not None and place["name"] != only:
            why = "not asked: only " + only
        if why is None:
            free.append(place)
        else:
            barred.append("%s: %s" % (place["name"], why))
    told = "; ".join(barred)
    if not free:
        return (QUEUE if snapshot["queueable"] else REFUSE), told or "no place has it"
    if len(free) == 1:
        return free[0]["name"], told or "the only place"
    strategy = rules["strategy"]
    best = least = None
    rows = []
    for place in free:
        burden = _burden(strategy, place, snapshot, rules)
        rows.append("%s %.2f" % (place["name"], burden))
        if best is None or burden < least:
            best, least = place, burden
    why = "order" if strategy == "order" else "%s: %s" % (strategy, ", ".join(rows))
    return best["name"], why + ("; " + told if told else "")


def _burden(strategy, place, snapshot, rules):
    """A number of 0 or more; the smallest is the best place."""
    if strategy == "order":
        return 0
    if strategy != "hybrid":
        return _STRATEGIES[strategy](place, snapshot, rules)
    weights = rules["weights"]
    total = burden = 0
    for name, function in _STRATEGIES.items():
        weight = weights.get(name, 1)
        total += weight
        if weight:
            burden += weight * function(place, snapshot, rules)
    return burden / total


def _complexity(place, snapshot, rules):
    if place["name"] != LOCAL:
        return 1
    return max(
        snapshot["tokens"] / rules["local_tokens"],
        snapshot["bytes"] / rules["local_bytes"],
        snapshot["cost"] / rules["local_cost"],
    )


def _resources(place, snapshot, rules):
    if place["name"] != LOCAL:
        waiting = 2 * snapshot["waiting"] / rules["max_waiting"]
        return max(1, 2 * place["requests"] / place["max_requests"], waiting)
    burden = 2 * snapshot["running"] / rules["local_calls"]
    heap = snapshot["heap_free"]
    if heap is not None:
        burden = max(burden, (rules["min_heap"] + snapshot["heap_need"]) / max(1, heap))
    battery = snapshot["battery"]
    if battery is not None:
        burden = max(burden, rules["min_battery"] / max(0.001, battery))
    temperature = snapshot["temperature_c"]
    if temperature is not None:
        burden = max(burden, temperature / rules["max_temperature_c"])
    return burden if snapshot["loaded"] else burden + 0.5


def _history(place, snapshot, rules):
    if place["latency_ms"] is None:
        return 0
    return place["latency_ms"] / rules["latency_ms"] + 4 * place["failures"]


_STRATEGIES = {"complexity": _complexity, "resources": _resources, "history": _history}
