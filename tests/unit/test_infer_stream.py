"""Streams of sensor samples: windows, scores, thresholds, and whom an alert is told."""

import asyncio
import json
import math

from peer import MODERN, Peer
from small_models import dense

from mcp_gw import Gateway, Param, ToolError
from mcp_gw.errors import ConfigError
from mcp_gw.infer.features import LogMel
from mcp_gw.infer.model import Model
from mcp_gw.infer.statistics import Deviation, outlier, run, summary
from mcp_gw.infer.stream import Stream


def refused(call, told):
    try:
        call()
    except ConfigError as e:
        assert told in str(e), str(e)
    else:
        raise AssertionError("not refused: " + told)


# Windows.


def looks(stream, samples):
    """Feed one by one; the windows that were looked at."""
    seen = []
    stream._features = lambda values: seen.append(values) or values
    for sample in samples:
        if stream.feed(sample):
            stream.look()
    return seen


def test_windows_slide():
    stream = Stream(None, "s", window=4, hop=2, score=sum)
    assert looks(stream, range(9)) == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7]]
    assert stream.newest() == [5, 6, 7, 8] and stream.looks == 3 and stream.missed == 0
    assert stream.latest["score"] == 22 and stream.latest["look"] == 3
    stream = Stream(None, "s", window=3, score=sum)
    assert stream.newest() == [] and stream.look() is None
    assert looks(stream, range(7)) == [[0, 1, 2], [3, 4, 5]]
    assert stream.newest() == [4, 5, 6]
    stream = Stream(None, "s", window=5, score=sum)
    stream.feed([7, 8])
    assert stream.newest() == [7, 8]


def test_many_samples_at_once():
    for given in ([1, 2, 3, 4], (1, 2, 3, 4), b"\x01\0\x02\0\x03\0\x04\0"):
        stream = Stream(None, "s", window=4, score=sum)
        assert stream.feed(given) and stream.look()["score"] == 10
    stream = Stream(None, "s", window=2, channels=2, typecode="f", score=sum)
    assert not stream.feed([0.5, 1.5]) and stream.feed([2.0, 4.0])
    assert stream.look()["score"] == 8.0
    # Two windows at once: the second is lost, and counted.
    stream = Stream(None, "s", window=2, score=sum)
    assert stream.feed(range(5))
    assert stream.missed == 1 and stream.look()["score"] == 1 and stream.newest() == [3, 4]


def test_what_is_refused():
    refused(lambda: Stream(None, "s", window=4, hop=5), "hop is from 1 to window")
    refused(lambda: Stream(None, "s", window=4, high=1, low=2), "low must not be above high")
    refused(lambda: Stream(None, "s", window=4, low=2), "low must not be above high")
    refused(lambda: Stream(None, "s", window=4, model="m"), "there is no model m")
    refused(lambda: Stream(None, "s", window=4, score="x"), "score x is not known")
    refused(lambda: Stream(None, "s", window=4, label="x"), "no label x")
    refused(lambda: Stream(None, "s", window=4, score="reconstruction"), "takes a model")
    refused(lambda: Stream(None, "a b", window=4), "name 'a b'")
    gw = Gateway("x")
    Stream(gw, "s", window=4)
    refused(lambda: Stream(gw, "s", window=4), "declared twice")


# Scores.


def test_a_model_scores():
    model = Model(dense([[64, 0], [0, 64]], [0, 0], ("a", "b")))
    stream = Stream(None, "s", window=2, typecode="f", model=model, label="b")
    stream.feed([1.0, 2.0])
    found = stream.look()
    assert found["label"] == "b" and found["label_score"] == found["score"] == 2.0
    stream = Stream(None, "s", window=2, typecode="f", model=model, score=lambda out: out[0])
    stream.feed([1.0, 2.0])
    assert stream.look()["score"] == 1.0


def test_a_model_that_rebuilds_its_input():
    same = [[64, 0], [0, 64]]
    model = Model(dense(same, [0, 0]))
    stream = Stream(None, "s", window=2, typecode="f", model=model, score="reconstruction")
    stream.feed([1.0, 2.0])
    assert stream.look()["score"] == 0
    model = Model(dense(same, [0, 128]))  # the second is 1 too high
    stream = Stream(None, "s", window=2, typecode="h", model=model, score="reconstruction")
    stream.feed([7, 11])  # raw: 2.0 and 4.0
    assert stream.look()["score"] == 0.5


def test_deviation():
    score = Deviation(learn=4)
    quiet = [[(i * 7 + k) % 5 - 2 for i in range(64)] for k in range(12)]
    assert [score(window) for window in quiet[:4]] == [0.0] * 4
    assert all(score(window) < 6 for window in quiet[4:])
    loud = [3 * v for v in quiet[0]]
    first = score(loud)
    assert first > 20 and abs(score(loud) - first) < 1e-6  # it is not learnt
    still = Deviation(of="mean", learn=2)
    assert [still([5] * 8) for _ in range(3)] == [0.0] * 3
    assert still([6] * 8) > 1000


def test_summary():
    values = [2, 4, 4, 4, 5, 5, 7, 9]
    found = run(summary(values))
    assert found["count"] == 8 and found["mean"] == 5.0 and abs(found["std"] - 2.0) < 1e-6
    assert found["min"] == 2 and found["max"] == 9
    assert abs(found["rms"] - math.sqrt(29)) < 1e-5
    assert abs(found["slope"] - 34 / 42) < 1e-6
    # A large offset does not spoil it.
    moved = run(summary([v + 60000 for v in values]))
    assert abs(moved["std"] - 2.0) < 0.01 and abs(moved["slope"] - 34 / 42) < 0.001
    assert run(summary([3.5]))["std"] == 0.0 and run(summary([3.5]))["slope"] == 0.0


def test_outlier():
    score, at = run(outlier([1, 2, 3, 2, 1, 2, 3, 100, 2]))
    assert at == 7 and abs(score - 0.6745 * 98) < 0.001
    score, at = run(outlier([5, 5, 5, 5, 5, 5, 8]))  # MAD is 0
    assert at == 6 and abs(score - 7 / 1.2533) < 0.001
    assert run(outlier([4, 4, 4])) == (0.0, 0)


# Thresholds.


def alerting(scores, **more):
    """Which alerts scores lead to: a string of - and ! for each."""
    told = []
    stream = Stream(None, "s", window=1, typecode="f", score=sum, on_alert=told.append, **more)
    out = ""
    for score in scores:
        stream.feed(score)
        out += "!" if stream.look().get("alert") else "-"
    return out, [found["alert"] for found in told]


def test_hysteresis():
    scores = [1.0, 3.0, 4.0, 3.0, 2.0, 1.9, 3.9, 4.0]
    assert alerting(scores, high=4.0, low=2.0) == ("--!!!--!", [True, False, True])
    assert alerting(scores, high=4.0) == ("--!----!", [True, False, True])
    assert alerting(scores, high=3.0, low=2.0, hold=2) == ("--!!!--!", [True, False, True])
    assert alerting(scores) == ("-" * 8, [])
    assert alerting([0.0, 8.0, 0.0, 8.0, 8.0, 0.0, 0.0], high=5.0, smooth=3) == (
        "---!!!-",
        [True, False],
    )
    nan = float("nan")
    assert alerting([5.0, nan, nan, 5.0], high=4.0) == ("!--!", [True, False, True])


# What clients hear.


def serving(gw, scenario):
    """Run a coroutine while the gateway counts as serving."""
    from mcp_gw.compat import run_until

    gw._running = True
    try:
        run_until(scenario)
    finally:
        gw._running = False


async def settled(gw):
    for _ in range(200):
        await asyncio.sleep(0)
        if all(task.done() for task in gw._work):
            return
    raise AssertionError("work does not end")


def test_clients_are_told():
    gw = Gateway("x")
    stream = Stream(gw, "pump", window=2, score=sum, high=10)
    old, deaf, new = Peer(gw), Peer(gw), Peer(gw, MODERN)
    deaf.ask("logging/setLevel", level="error")
    old.ask("resources/subscribe", uri="stream://pump")
    new.begin("subscriptions/listen", notifications={"resourceSubscriptions": ["stream://pump"]})
    listed = old.ask("resources/list")["resources"]
    assert listed[0]["uri"] == "stream://pump" and listed[0]["mimeType"] == "application/json"

    def read():
        return json.loads(old.ask("resources/read", uri="stream://pump")["contents"][0]["text"])

    assert read() == {"stream": "pump", "look": 0}
    for peer in (old, deaf, new):
        peer.sent.clear()

    async def scenario():
        stream.feed([1, 2])
        await settled(gw)
        assert not old.sent and stream.latest["score"] == 3 and not stream.latest["alert"]
        stream.feed([5, 6])
        await settled(gw)

    serving(gw, scenario())
    assert read()["score"] == 11 and read()["alert"] is True
    updated, message = old.sent
    assert updated["method"] == "notifications/resources/updated"
    assert updated["params"]["uri"] == "stream://pump"
    assert message["method"] == "notifications/message"
    assert message["params"]["level"] == "warning"
    assert message["params"]["logger"] == "stream://pump"
    assert message["params"]["data"]["score"] == 11
    assert deaf.sent == []
    assert [m["method"] for m in new.sent] == ["notifications/resources/updated"]
    old.sent.clear()

    async def again():
        stream.feed([0, 0])
        await settled(gw)

    serving(gw, again())
    assert [m["method"][14:] for m in old.sent] == ["resources/updated", "message"]
    assert old.sent[1]["params"]["level"] == "notice"


def test_an_alert_calls_a_tool():
    gw = Gateway("x")
    calls = []
    logged = []
    gw.log = logged.append

    @gw.tool("Report", what=Param(str), score=Param(float))
    def report(what, score):
        calls.append((what, score))
        if score > 100:
            raise ToolError("too much")

    stream = Stream(
        gw,
        "pump",
        window=1,
        score=sum,
        high=10,
        call=("report", lambda found: {"what": found["stream"], "score": found["score"]}),
    )
    for value in (1, 20, 30, 2, 400):
        stream.feed(value)
        stream.look()
    assert calls == [("pump", 20.0), ("pump", 400.0)]
    assert len(logged) == 1 and "stream://pump: report: " in logged[0] and "too much" in logged[0]
    gone = Stream(gw, "fan", window=1, score=sum, high=10, call=("nobody", lambda found: {}))
    gone.feed(11)
    gone.look()
    assert "stream://fan: nobody: " in logged[1] and "unknown tool" in logged[1]


def test_a_sensor_is_sampled():
    gw = Gateway("x")
    values = iter(range(1000))
    stream = Stream(gw, "s", window=5, score=sum)

    async def slowly():
        await asyncio.sleep(0)
        return next(values)

    async def scenario():
        task = stream.watch(slowly, every_ms=1)
        while stream.looks < 3:
            await asyncio.sleep(0.001)
        task.cancel()

    serving(gw, scenario())
    assert stream.latest["score"] % 25 == 10


def test_a_sensor_that_fails_is_read_again():
    gw = Gateway("x")
    logged = []
    gw.log = logged.append
    reads = []

    def read():
        reads.append(1)
        if len(reads) < 4:
            raise OSError(5)
        return 7

    stream = Stream(gw, "s", window=3, score=sum)

    async def scenario():
        task = stream.watch(read, every_ms=1)
        while stream.looks < 2:
            await asyncio.sleep(0.001)
        task.cancel()

    serving(gw, scenario())
    assert stream.latest["score"] == 21
    assert len(logged) == 1 and "OSError" in logged[0]  # once, not every ms


# Features.


def tone(n, rate, hertz, size):
    return [int(size * math.sin(2 * math.pi * hertz * i / rate)) for i in range(n)]


def test_log_mel_finds_a_tone():
    mel = LogMel(256, 8000, 16, low=100)
    best = []
    for hertz in (300, 1000, 3000):
        bands = mel.of(tone(256, 8000, hertz, 1000))
        best.append(max(range(16), key=lambda i: bands[i]))
        quieter = mel.of(tone(256, 8000, hertz, 250))
        # A quarter of the amplitude is 4 less in log2 of the energy.
        assert abs(bands[best[-1]] - quieter[best[-1]] - 1024) < 32
    assert best[0] < best[1] < best[2]
    assert mel.of([7] * 256) == [0] * 16
    stream = Stream(None, "s", window=256, features=mel, score=max)
    stream.feed(tone(256, 8000, 1000, 1000))
    assert stream.look()["score"] == mel.of(tone(256, 8000, 1000, 1000))[best[1]]
