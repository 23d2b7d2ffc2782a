from mcp_gw.route.decide import decide
from mcp_gw.route.rules import defaults, merged


def place(name, barred=None, latency_ms=None, failures=0, requests=0, max_requests=4):
    return {
        "name": name,
        "barred": barred,
        "latency_ms": latency_ms,
        "failures": failures,
        "requests": requests,
        "max_requests": max_requests,
    }


HERE = place("local")
PI = place("pi")
CLOUD = place("cloud")
AWAY = place("pi", "not reachable")


def snapshot(places, **more):
    row = {
        "places": places,
        "queueable": False,
        "tokens": 0,
        "bytes": 0,
        "cost": 0,
        "heap_free": None,
        "heap_need": 0,
        "battery": None,
        "temperature_c": None,
        "loaded": True,
        "running": 0,
        "waiting": 0,
    }
    row.update(more)
    return row


BUSY = place("pi", requests=3)
# (rules beside the defaults, places, the rest of the snapshot, where, a part of why)
CASES = (
    # By order.
    ({}, [HERE, PI], {}, "local", "order"),
    ({}, [PI, CLOUD], {}, "pi", "order"),
    ({}, [AWAY, CLOUD], {}, "cloud", "pi: not reachable"),
    ({}, [AWAY], {}, "refuse", "pi: not reachable"),
    ({}, [AWAY], {"queueable": True}, "queue", "pi: not reachable"),
    ({}, [], {}, "refuse", "no place has it"),
    ({}, [PI], {"queueable": True}, "pi", "the only place"),
    # What is said of one tool.
    ({"only": "local"}, [PI, HERE], {}, "local", "pi: not asked: only local"),
    ({"only": "pi"}, [HERE, AWAY, CLOUD], {}, "refuse", "cloud: not asked"),
    ({"only": "pi"}, [HERE, AWAY], {"queueable": True}, "queue", "local: not asked"),
    # By complexity.
    ({"strategy": "complexity"}, [HERE, PI], {"tokens": 64}, "local", "local 1.00, pi 1.00"),
    ({"strategy": "complexity"}, [HERE, PI], {"tokens": 65}, "pi", "local 1.02, pi 1.00"),
    ({"strategy": "complexity"}, [PI, HERE], {"tokens": 64}, "pi", "complexity"),
    ({"strategy": "complexity"}, [PI, HERE], {"tokens": 63}, "local", "complexity"),
    ({"strategy": "complexity"}, [HERE, PI], {"bytes": 2048}, "pi", "local 2.00"),
    ({"strategy": "complexity"}, [HERE, PI], {"cost": 25}, "pi", "local 2.50"),
    ({"strategy": "complexity", "local_cost": 50}, [HERE, PI], {"cost": 25}, "local", "0.50"),
    ({"strategy": "complexity", "local_tokens": 8}, [HERE, PI], {"tokens": 10}, "pi", "1.25"),
    ({"strategy": "complexity"}, [HERE, AWAY], {"tokens": 999}, "local", "pi: not reachable"),
    # By resources.
    ({"strategy": "resources"}, [HERE, PI], {}, "local", "local 0.00, pi 1.00"),
    ({"strategy": "resources"}, [HERE, PI], {"running": 1}, "pi", "local 2.00"),
    ({"strategy": "resources", "local_calls": 4}, [HERE, PI], {"running": 1}, "local", "0.50"),
    ({"strategy": "resources"}, [HERE, PI], {"heap_free": 16384}, "pi", "local 2.00"),
    ({"strategy": "resources"}, [HERE, PI], {"heap_free": 65536}, "local", "local 0.50"),
    ({"strategy": "resources"}, [HERE, PI], {"heap_free": 0}, "pi", "pi 1.00"),
    (
        {"strategy": "resources"},
        [HERE, PI],
        {"heap_free": 65536, "heap_need": 65536, "loaded": False},
        "pi",
        "local 2.00",
    ),
    ({"strategy": "resources"}, [HERE, PI], {"battery": 0.1}, "pi", "local 2.00"),
    ({"strategy": "resources"}, [HERE, PI], {"battery": 0.9}, "local", "local 0.22"),
    ({"strategy": "resources"}, [HERE, PI], {"battery": 0}, "pi", "pi 1.00"),
    ({"strategy": "resources"}, [HERE, PI], {"temperature_c": 84}, "pi", "local 1.20"),
    ({"strategy": "resources"}, [HERE, PI], {"loaded": False}, "local", "local 0.50"),
    (
        {"strategy": "resources"},
        [HERE, PI],
        {"loaded": False, "temperature_c": 42},
        "pi",
        "local 1.10",
    ),
    ({"strategy": "resources"}, [BUSY, CLOUD], {}, "cloud", "pi 1.50, cloud 1.00"),
    ({"strategy": "resources"}, [place("pi", requests=2), CLOUD], {}, "pi", "pi 1.00"),
    (
        {"strategy": "resources"},
        [PI, HERE],
        {"waiting": 12, "heap_free": 32768},
        "local",
        "pi 1.50, local 1.00",
    ),
    # By history.
    ({"strategy": "history"}, [HERE, PI], {}, "local", "local 0.00, pi 0.00"),
    (
        {"strategy": "history"},
        [place("pi", latency_ms=900), place("cloud", latency_ms=300)],
        {},
        "cloud",
        "pi 0.90, cloud 0.30",
    ),
    (
        {"strategy": "history"},
        [place("pi", latency_ms=100, failures=0.5), place("cloud", latency_ms=1500)],
        {},
        "cloud",
        "pi 2.10",
    ),
    # A place of which nothing is known gets its turn.
    ({"strategy": "history"}, [place("local", latency_ms=40), PI], {}, "pi", "pi 0.00"),
    # All together.
    (
        {"strategy": "hybrid"},
        [place("local", latency_ms=3000), place("pi", latency_ms=1000)],
        {"tokens": 32},
        "pi",
        "hybrid: local 1.17, pi 1.00",
    ),
    (
        {"strategy": "hybrid", "weights": {"complexity": 4, "history": 0}},
        [place("local", latency_ms=9000), place("pi", latency_ms=1000)],
        {"tokens": 32},
        "local",
        "hybrid: local 0.40, pi 1.00",
    ),
    (
        {"strategy": "hybrid", "weights": {"complexity": 0, "resources": 0}},
        [place("local", latency_ms=300), place("pi", latency_ms=200)],
        {"tokens": 9999},
        "pi",
        "hybrid: local 0.30, pi 0.20",
    ),
)


def test_decisions():
    base = defaults()
    for rules, places, more, where, why in CASES:
        got = decide(snapshot(places, **more), merged(rules, base))
        assert got[0] == where and why in got[1], (rules, places, more, got)


def test_a_decision_depends_on_nothing_else_and_changes_nothing():
    base = merged({"strategy": "hybrid"}, defaults())
    row = snapshot([HERE, PI, CLOUD], tokens=70, battery=0.3)
    before = repr(row)
    assert decide(row, base) == decide(row, base)
    assert repr(row) == before


def test_what_is_not_needed_need_not_be_measured():
    """The rows that a request without a choice has to measure."""
    row = {"places": [AWAY, CLOUD], "queueable": True}
    for strategy in ("order", "complexity", "resources", "history", "hybrid"):
        assert decide(row, merged({"strategy": strategy}, defaults()))[0] == "cloud"
