from mcp_gw.compat import ticks_add, ticks_ms
from mcp_gw.route.http_ages import Ages


def page(ttl):
    return b'{"resultType":"complete","tools":[],"ttlMs":%d,"cacheScope":"public"}' % ttl


def test_a_list_is_asked_for_again_once_when_its_time_is_over():
    ages = Ages()
    told = []
    start = ticks_ms()
    ages.note("tools/list", page(60000))
    ages.note("resources/templates/list", page(120000))
    ages.tick(ticks_add(start, 59000), told.append)
    assert told == []
    ages.tick(ticks_add(start, 62000), told.append)
    ages.tick(ticks_add(start, 63000), told.append)
    assert told == ["tools"]
    ages.tick(ticks_add(start, 122000), told.append)
    assert told == ["tools", "resources"]


def test_what_says_no_time_is_not_asked_for_again():
    ages = Ages()
    told = []
    ages.note("tools/list", page(0))
    ages.note("tools/list", b'{"tools":[]}')
    ages.note("tools/call", page(5000))
    ages.tick(ticks_add(ticks_ms(), 90000000), told.append)
    assert told == []
    # However short a time is, and however long.
    start = ticks_ms()
    ages.note("tools/list", page(1))
    ages.tick(ticks_add(start, 900), told.append)
    assert told == []
    ages.note("tools/list", page(10**14))
    ages.tick(ticks_add(start, 86300000), told.append)
    assert told == []
    ages.tick(ticks_add(start, 86500000), told.append)
    assert told == ["tools"]
    # Somebody hears of changes: nothing is asked for.
    ages.note("tools/list", page(1000))
    ages.tick(ticks_add(start, 90000), None)
    ages.tick(ticks_add(start, 90000), told.append)
    assert told == ["tools"]
