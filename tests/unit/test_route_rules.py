from mcp_gw.errors import ConfigError
from mcp_gw.route.rules import checked, defaults, merged

GOOD = {
    "strategy": "hybrid",
    "weights": {"complexity": 2, "history": 0},
    "prefer": "elsewhere",
    "min_battery": 0.5,
    "cache_bytes": 0,
    "tools": {"complete": {"elsewhere": "pi:ask", "cost": 2.5, "repeat": True, "model": "story"}},
    "upstreams": {"cloud": {"max_requests": 2, "breaker_ms": 100}},
}
BAD = (
    ({"stategy": "order"}, "unknown option stategy"),
    ({"strategy": "best"}, "strategy is one of order, complexity"),
    ({"weights": {"cost": 1}}, "weights is a table"),
    ({"weights": 3}, "weights is a table, not 3"),
    ({"weights": {"complexity": -1}}, "weights"),
    ({"weights": {"complexity": 0, "resources": 0, "history": 0}}, "weights"),
    ({"prefer": "pi"}, "prefer is one of local, elsewhere"),
    ({"retries": 17}, "retries is a number from 0 to 16, not 17"),
    ({"retries": True}, "retries"),
    ({"min_battery": "low"}, "min_battery is a number from 0 to 1, not 'low'"),
    ({"elsewhere": "pi"}, "unknown option elsewhere"),
    ({"profile": {"battery": 1}}, "profile is a function"),
    ({"tools": ["complete"]}, "tools is a table"),
    ({"tools": {"complete": "pi"}}, "routing.tools.complete: a table of options"),
    ({"tools": {"complete": {"elsewhere": ""}}}, "routing.tools.complete: elsewhere is a name"),
    ({"tools": {"complete": {"repeat": 1}}}, "repeat is true or false"),
    ({"tools": {"complete": {"max_requests": 1}}}, "unknown option max_requests"),
    (
        {"upstreams": {"pi": {"strategy": "order"}}},
        "routing.upstreams.pi: unknown option strategy",
    ),
    ({"upstreams": {"pi": {"max_bytes": 0}}}, "max_bytes is a number from 1"),
)


def test_options_are_checked():
    assert checked(GOOD) == GOOD and checked({}) == {}
    for options, told in BAD:
        try:
            checked(options)
        except ConfigError as e:
            assert told in str(e) and str(e).startswith("routing"), str(e)
        else:
            raise AssertionError(options)
    try:
        checked([])
    except ConfigError:
        pass
    else:
        raise AssertionError("a list is no table")


def test_what_is_said_last_wins_and_tables_are_merged():
    under = {"strategy": "order", "tools": {"a": {"cost": 1, "only": "pi"}, "b": {"cost": 3}}}
    over = {"strategy": "history", "tools": {"a": {"cost": 2}, "c": {}}}
    assert merged(over, under) == {
        "strategy": "history",
        "tools": {"a": {"cost": 2, "only": "pi"}, "b": {"cost": 3}, "c": {}},
    }
    assert under["tools"]["a"]["cost"] == 1  # and nothing is changed
    all_of_them = merged(checked(GOOD), defaults())
    assert all_of_them["strategy"] == "hybrid" and all_of_them["retry_ms"] == 250
    checked({name: value for name, value in defaults().items() if type(value) in (int, float)})
