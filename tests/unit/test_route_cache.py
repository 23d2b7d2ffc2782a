from mcp_gw.compat import ticks_add
from mcp_gw.route.cache import Cache, hints

NOW = 0x3FFFFFFF - 500  # ticks wrap on the way


def result(ttl, scope="public", text="x", kind="complete"):
    row = '{"resultType":"%s","contents":[{"uri":"a:b","text":"%s"}],"ttlMs":%s,"cacheScope":"%s"}'
    return (row % (kind, text, ttl, scope)).encode()


def keys(uri, who=None):
    return ("pi", uri), ("pi", uri, who)


def test_an_answer_is_given_again_with_the_time_that_is_left():
    cache = Cache(4096)
    assert cache.get(keys("a"), NOW) is None
    cache.put(*keys("a"), "upstream", result(1000), NOW)
    assert cache.get(keys("a"), NOW) == ("upstream", result(1000))
    assert cache.get(keys("a"), ticks_add(NOW, 999)) == ("upstream", result(1))
    assert cache.get(keys("b"), NOW) is None
    assert cache.get(keys("a"), ticks_add(NOW, 1000)) is None
    assert (cache.hits, cache.misses, len(cache), cache.bytes) == (2, 3, 0, 0)


def test_what_is_for_one_is_not_given_to_another():
    cache = Cache(4096)
    cache.put(*keys("a", "ann"), "u", result(1000, "private"), NOW)
    assert cache.get(keys("a", "ann"), NOW)
    assert cache.get(keys("a", "bob"), NOW) is None
    assert cache.get(keys("a"), NOW) is None
    cache.put(*keys("a", "ann"), "u", result(1000), NOW)
    assert cache.get(keys("a", "bob"), NOW)


def test_what_says_nothing_is_not_kept():
    cache = Cache(4096)
    raws = (
        b'{"contents":[]}',
        result(0),
        result(-5),
        result("null"),
        result('"1000"'),
        result(1000.5),
        result(1000, kind="input_required"),
        result(10**20),
        b'{"contents":[{"ttlMs":5}]}',
    )
    for raw in raws:
        cache.put(*keys("a"), "u", raw, NOW)
        assert len(cache) == 0 and cache.get(keys("a"), NOW) is None, raw
    # A scope that is missing or not known is the narrower one.
    assert hints(b'{"ttlMs":7}') == (7, b'"private"')
    cache.put(*keys("a"), "u", result(5, "everybody"), NOW)
    assert ("pi", "a") not in cache._rows and cache.get(keys("a"), NOW)


def test_the_least_recently_used_is_dropped_and_the_cap_holds():
    size = len(result(1000)) + 64
    cache = Cache(3 * size)
    for uri in "abc":
        cache.put(*keys(uri), "u", result(1000), NOW)
    assert cache.bytes == 3 * size and cache.get(keys("a"), NOW)
    cache.put(*keys("d"), "u", result(1000), NOW)
    assert cache.bytes == 3 * size and cache.dropped == 1
    assert cache.get(keys("b"), NOW) is None
    assert all(cache.get(keys(uri), NOW) for uri in "acd")
    # One that is larger than everything is not kept, and drops nothing.
    cache.put(*keys("e"), "u", result(1000, text="x" * 3 * size), NOW)
    assert len(cache) == 3 and cache.get(keys("e"), NOW) is None
    # The same again takes the place of the old one.
    cache.put(*keys("a"), "u", result(2000), NOW)
    assert len(cache) == 3 and cache.bytes == 3 * size


def test_what_has_changed_and_what_is_over_is_forgotten():
    cache = Cache(4096)
    cache.put(*keys("a"), "u", result(1000), NOW)
    cache.put(*keys("b"), "u", result(5000), NOW)
    cache.put(("office", "a"), ("office", "a", None), "u", result(5000), NOW)
    cache.tick(ticks_add(NOW, 1000))
    assert len(cache) == 2
    cache.forget("pi")
    assert len(cache) == 1 and cache.get((("office", "a"),), NOW)
    cache.forget("office")
    assert cache.bytes == 0
    # Days in ms are more than ticks can tell apart.
    cache.put(*keys("a"), "u", result(10**14), NOW)
    assert cache.get(keys("a"), ticks_add(NOW, 86399999))
    assert cache.get(keys("a"), ticks_add(NOW, 86400000)) is None
