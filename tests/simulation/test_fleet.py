"""Fleets that live for simulated days: no call is lost, none is executed twice."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soak
from fleet import Settings, live
from mcpgw.bridge import keys
from mcpgw.bridge.calls import Calls
from world import Broken

from mcp_gw.queue.outbox import Outbox
from mcp_gw.queue.tries import Tries

RUN = Path(__file__).with_name("run.py")


def test_boards_live_through_weeks(seed):
    settings = Settings(boards=soak.count(6, 20), days=soak.count(2, 30))
    fleet = live(settings, seed)
    counts = fleet.world.counts
    print(dict(counts))
    # What it is about did happen.
    for what in ("power cuts", "lines lost", "hosts started", "outcomes: done"):
        assert counts[what] > 0, what
    assert counts["calls"] > 15 * settings.boards * settings.days


def _hash(seed, hash_seed):
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "MCPGW_SEED": str(seed)}
    command = [sys.executable, RUN, "--days", "0.5", "--boards", "2", "--cuts", "8"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def test_a_seed_replays_exactly(seed):
    assert _hash(seed, 1) == _hash(seed, 2)
    assert _hash(seed, 1) != _hash(seed + 1, 1)


# That the simulation would notice: each of these breaks a promise.


def _ack_early(self, item, outcome, ttl_s, failed=False):
    self.ring.ack(item.handle)
    return _done(self, item, outcome, ttl_s, failed)


def _unfair(self, seq, now):
    return (seq % 2 == 0 or now % 20000 < 10000) and _may(self, seq, now)


async def _without_keys(self, upstream, key, tool, send, idempotent, on_progress=None):
    return await send(on_progress)


def _forget(self, upstream, key, ok, answer):
    self.forget(upstream, key)


_done = Outbox.done
_may = Tries.may


@pytest.mark.parametrize(
    "place, name, broken, told",
    [
        (Outbox, "done", _ack_early, "is lost"),
        (Tries, "may", _unfair, "is sent late"),
        (Calls, "run", _without_keys, "executed twice"),
        (keys.KeyStore, "finish", _forget, "executed twice"),
    ],
)
def test_a_broken_promise_is_noticed(place, name, broken, told, seed, monkeypatch):
    monkeypatch.setattr(place, name, broken)
    with pytest.raises(Broken) as failure:
        live(Settings(boards=2, days=30, loss=0.05, cuts=6), seed)
    text = str(failure.value)
    assert told in text.split("\n")[0] and f"seed {seed}" in text
