"""Models on the board: loading, values in and out, errors, the store and its RAM."""

import asyncio

from small_models import dense

from mcp_gw.compat import run_until, sleep_ms
from mcp_gw.infer.model import Model, ModelError
from mcp_gw.infer.store import Store

# y0 = x0 - x1, y1 = x1 + x2, y2 = -x0
ROWS = [[64, -64, 0], [0, 64, 64], [-64, 0, 0]]
BIAS = [0, 128, -64]  # in units of 1 / 128: 0, 1, -0.5
LABELS = ("left", "middle", "right")


def model(**more):
    return Model(dense(ROWS, BIAS, LABELS, **more))


def refused(call, told):
    try:
        call()
    except ModelError as e:
        assert told in str(e), str(e)
    else:
        raise AssertionError("not refused: " + told)


def test_real_values():
    m = model()
    assert m.name == "dense" and m.labels == LABELS and m.macs == 9
    assert m.input() == ("b", 0.5, 3, (1, 3)) and m.output() == ("b", 0.25, -7, (1, 3))
    m.run([2.0, 0.5, 4.0])
    assert m.scores() == [1.5, 5.5, -2.5]
    assert m.classify([2.0, 0.5, 4.0]) == [("middle", 5.5), ("left", 1.5), ("right", -2.5)]
    assert m.classify([2.0, 0.5, 4.0], top=1) == [("middle", 5.5)]
    # Rounded half away from zero, and kept within the type.
    m.run([0.25, -0.25, 1e30])
    assert m.scores() == [1.0, 33.5, -1.0]  # 0.5 + 0.5, then 62.0 - 0.5 + 1 within int8
    assert m.runs == 4


def test_raw_values():
    m = model()
    raw = [7, 4, 11]  # 2.0, 0.5, 4.0
    expected = [-1, 15, -17]
    for given in (raw, tuple(raw), [[raw]], bytes(raw), bytearray(raw), memoryview(bytes(raw))):
        out = m.run(given)
        assert [int(v) for v in out] == expected, given
    from array import array

    assert list(m.run(array("b", raw))) == expected
    assert list(m.run(array("f", [2.0, 0.5, 4.0]))) == expected
    assert list(m.run(bytes([0x80, 0x7F, 0]))) == list(m.run([-128, 127, 0]))


def test_whole_numbers_that_are_real():
    m = model(pre={"values": "real"})
    assert m.classify([2, 0, 4])[0] == ("middle", 5.0)
    assert m.classify([2, 0.5, 4])[0] == ("middle", 5.5)


def test_what_goes_in_is_checked():
    m = model()
    refused(lambda: m.run(), "dense: 0 inputs, not 1")
    refused(lambda: m.run([1, 2, 3], [1, 2, 3]), "dense: 2 inputs, not 1")
    refused(lambda: m.run([1, 2]), "dense: 2 values in, not 3 (1 x 3)")
    refused(lambda: m.run([1, 2, 3, 4]), "4 values in, not 3")
    refused(lambda: m.run([1, 2, 128]), "input value 2: 128 is not within -128 to 127")
    refused(lambda: m.run([1, float("nan"), 3]), "input value 1")
    refused(lambda: m.run(b"1234"), "input of 4 bytes, not 3")
    refused(lambda: m.run([1, "2", 3]), "str where a whole number belongs")
    refused(lambda: m.run([1, None, 3]), "NoneType where a whole number belongs")
    assert m.classify([7, 4, 11])[0][0] == "middle"  # and it still works


def test_files_that_are_wrong():
    good = dense(ROWS, BIAS, LABELS)
    refused(lambda: Model(b""), "model: ")
    refused(lambda: Model(b"not a model at all" * 10), "not a model")
    refused(lambda: Model(good[:-1]), "cut short")
    refused(lambda: Model("/no/such.mgm"), "/no/such.mgm cannot be read")
    damaged = bytearray(good)
    damaged[-20] ^= 1
    m = Model(damaged, name="bad")
    refused(m.verify, "bad: checksum does not match")
    Model(good).verify()
    for at in range(96):
        damaged = bytearray(good)
        damaged[at] ^= 0x40
        if 48 <= at < 80:
            continue
        try:
            Model(damaged)
        except ModelError as e:
            told = str(e)  # a longer arena is not wrong, but there may be no memory for it
            assert "offset" in told or "metadata" in told or "no memory" in told, told
        else:
            assert 16 <= at < 24 or 40 <= at < 48, at


def test_more_behind_the_file_is_no_part_of_it():
    m = Model(dense(ROWS, BIAS) + b"a signature may follow")
    m.verify()
    assert m.labels == () and m.classify([7, 4, 11])[0] == ("1", 5.5)


def test_a_path(path="/tmp/mcpgw-test.mgm"):
    import os

    with open(path, "wb") as file:
        file.write(dense(ROWS, BIAS, LABELS))
    m = Model(path)
    os.remove(path)
    assert m.classify([2.0, 0.5, 4.0])[0] == ("middle", 5.5)
    m.close()
    refused(lambda: m.run([1, 2, 3]), "it was closed")


def test_an_arena_of_ones_own():
    size = model().arena_bytes
    arena = bytearray(size)
    m = Model(dense(ROWS, BIAS), arena)
    m.run([2.0, 0.5, 4.0])
    assert any(arena)
    refused(lambda: Model(dense(ROWS, BIAS), bytearray(size - 1)), "arena")


def test_two_at_once_wait_for_each_other():
    m = model()
    seen = []

    async def one(given, due):
        out = await m.aclassify(given, top=1)
        seen.append(out[0] == due)

    async def both():
        first = asyncio.create_task(one([2.0, 0.5, 4.0], ("middle", 5.5)))
        second = asyncio.create_task(one([8.0, 0.5, 1.0], ("left", 7.5)))
        await first
        await second

    run_until(both())
    assert seen == [True, True] and not m.busy


def test_a_run_in_the_middle_of_another():
    m = model()
    steps = m._steps(([0] * 3,))
    m._begin()
    next(steps, None)
    refused(lambda: m.run([1, 2, 3]), "it runs already")
    refused(m.unload, "it is running")


def test_a_run_that_is_cancelled_leaves_it_free():
    m = Model(dense([[1] * 200] * 3, BIAS))

    async def scenario():
        task = asyncio.create_task(m.arun([0] * 200))
        await sleep_ms(0)
        assert m.busy
        task.cancel()
        ended = False
        try:
            await task
        except asyncio.CancelledError:
            ended = True
        assert ended
        assert not m.busy
        await m.arun([0] * 200)

    run_until(scenario())


def test_how_far_an_output_is_from_its_input():
    m = Model(dense([[64, 0], [0, 64]], [0, 128]))  # the second is 1 too high
    assert m.rebuilds and not Model(dense([[1, 2]], [0])).rebuilds
    for given in ([1.0, 2.0], [5, 7], bytes([5, 7]), memoryview(bytes([5, 7])), bytearray([5, 7])):
        assert run_until(m.arebuild(given)) == 0.5, given
    assert run_until(m.arebuild(bytes([0xFB, 0xFF]))) == 0.5  # -4.0 and -2.0


# The store.


def stored(cap, sizes):
    """A store with models a, b, ... whose arenas are of these many inputs."""
    store = Store(cap)
    for i, n in enumerate(sizes):
        name = "abc"[i]
        store.add(name, Model(dense([[1] * n], [0], name=name), name=name, store=store))
    return store


def test_arenas_are_lent_to_those_that_run():
    store = stored(300, [100, 100, 100])
    assert list(store) == ["a", "b", "c"] and len(store) == 3 and "b" in store
    assert store.used == 0
    for name in "abc":
        store.get(name).run([0] * 100)
    stats = store.memory_stats()
    assert stats["used"] == 224 and stats["cap"] == 300 and stats["evicted"] == 1
    rows = stats["models"]
    assert [rows[name]["loaded"] for name in "abc"] == [False, True, True]
    assert rows["a"]["arena"] == 112 and rows["a"]["runs"] == 1 and rows["a"]["file"] > 112
    # b was used last after this, so c goes.
    store.get("b").run([0] * 100)
    store.get("a").run([0] * 100)
    assert [store.get(name).loaded for name in "abc"] == [True, True, False]
    assert store.evicted == 2
    store.get("a").unload()
    assert store.used == 112
    store.get("c").run([0] * 100)
    assert store.evicted == 2


def test_what_runs_keeps_its_arena():
    store = stored(230, [100, 100, 100])
    a, b, c = (store.get(name) for name in "abc")
    a.load()
    b.load()
    a._busy = b._busy = True
    refused(
        lambda: c.run([0] * 100), "model c needs 112 bytes of RAM, and models that run hold 224"
    )
    b._busy = False
    c.run([0] * 100)
    assert a.loaded and not b.loaded


def test_what_the_store_refuses():
    refused(lambda: stored(100, [100]), "model a takes 112 bytes of RAM")
    store = stored(300, [8])
    refused(lambda: store.add("a", store.get("a")), "there already")
    refused(lambda: store.get("x"), "no model x; there are: a")
    store.remove("a")
    assert list(store) == [] and store.used == 0
