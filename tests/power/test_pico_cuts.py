"""Power cuts in flash operations of the emulated Pico, behind the bridge, between a client and an
upstream of the official SDK: what was accepted is executed, and executed once."""

import json
import random
import time
from contextlib import contextmanager

import anyio
import rig
import soak
import targets
from mcp.shared.exceptions import MCPError
from mcpgw.sim import PicoSim
from waiting import PATIENCE_S, until

CUTS = soak.count(12, 200)
POWER_CUT = 137
CALLS = 3  # in each round
MODES = ("prefix", "bits", "marginal")
NOTE = "0123456789abcdef" * 40


class Rounds:
    """In each round calls are queued while the upstream is away, and delivered when it is back;
    the power goes in one of the two phases."""

    def __init__(self, sim, office, gate, client, rng):
        self.sim = sim
        self.office = office
        self.gate = gate
        self.client = client
        self.rng = rng
        self.plot = 0
        self.accepted = {}  # plot -> URI
        self.untold = set()  # plots whose call came back with an error
        self.struck = []
        # Flash operations that a phase took when it was last left alone.
        self.usual = {"queue": 0, "deliver": 0}

    async def one(self, phase=None):
        """phase: in which the power goes, None for a round without a cut."""
        self.gate.shut()
        with self.counting("queue", phase):
            accepted = await self.queue()
        with self.counting("deliver", phase):
            self.gate.open()
            await self.deliver(accepted)
        await self.power()

    @contextmanager
    def counting(self, phase, cut):
        """Count the operations of `phase`, or arm a cut if it is to have one."""
        before = self.sim.status()["operations"]
        struck = len(self.struck)
        if phase == cut:
            self.arm(phase)
        yield
        if phase != cut and self.sim.running and len(self.struck) == struck:
            self.usual[phase] = max(1, self.sim.status()["operations"] - before)

    def arm(self, phase):
        cut = {
            "n": self.rng.randint(1, self.usual[phase]),
            "mode": self.rng.choice(MODES),
            "bytes": self.rng.randrange(256),
            "seed": self.rng.randrange(1 << 30),
        }
        self.armed = {"phase": phase, **cut}
        self.sim.power_cut_at(**cut)

    async def power(self):
        """Switch the board on again if its power was cut. Returns whether it was."""
        if self.sim.running:
            return False
        assert self.sim.wait_exit() == POWER_CUT, self.sim.errors()
        for cut in self.sim.events("cut"):
            self.struck.append({**self.armed, "kind": cut["kind"]})
            print(f"cut {len(self.struck)}:", self.struck[-1])
        await anyio.to_thread.run_sync(self.sim.restart)
        return True

    async def queue(self):
        accepted = []
        for _ in range(CALLS):
            self.plot += 1
            arguments = {"plot": self.plot, "percent": self.plot % 100, "note": NOTE}
            try:
                result = await self.client.call_tool("office_log_reading", arguments)
            except MCPError as error:
                # The board was gone before the answer: perhaps stored, but nobody was told.
                self.untold.add(self.plot)
                lost = f"no power cut, but {error}"
                await anyio.to_thread.run_sync(until, lambda: not self.sim.running, lost)
                await self.power()
                continue
            self.accepted[self.plot] = result.meta["mcp-gw/queued"]["uri"]
            accepted.append(self.plot)
        return accepted

    async def deliver(self, plots):
        """Until the outcome of each of these can be read."""
        end = time.monotonic() + PATIENCE_S
        for plot in plots:
            while True:
                await self.power()
                state = None
                try:
                    contents = (
                        await self.client.read_resource(self.accepted[plot], cache_mode="bypass")
                    ).contents
                    state = json.loads(contents[0].text)
                except MCPError as error:
                    await anyio.sleep(0.05)
                    # A record that is gone would be this error with the board alive and well.
                    assert not self.sim.running or error.code == -32013, (plot, error)
                if state and state["state"] not in ("queued", "sending"):
                    break
                assert time.monotonic() < end, (plot, state)
                await anyio.sleep(0.1)
            assert state["state"] == "done", (plot, state)
            told = state["result"]["content"][0]["text"]
            assert told == f"noted: plot {plot} at {plot % 100} percent"

    def check(self):
        executed = [row["plot"] for row in self.office.executed()]
        for plot in range(1, self.plot + 1):
            times = executed.count(plot)
            if plot in self.accepted:
                assert times == 1, f"accepted call {plot} was executed {times} times"
            else:
                assert plot in self.untold and times <= 1, f"call {plot}: executed {times} times"


def test_accepted_calls_survive_power_cuts(tmp_path, seed):
    rng = random.Random(seed)
    sim = PicoSim(targets.firmware("pico"), flash=tmp_path / "flash.img")

    async def scenario(office, gate):
        command = rig.bridge(sim, tmp_path, upstream=gate)
        with open(tmp_path / "bridge.log", "w") as log:
            async with rig.sdk_client(command, "auto", log) as client:
                rounds = Rounds(sim, office, gate, client, rng)
                began = time.monotonic()
                for _ in range(2):
                    await rounds.one()
                print("operations:", rounds.usual)
                while len(rounds.struck) < CUTS:
                    phase = "queue" if len(rounds.struck) % 2 else "deliver"
                    await rounds.one(phase)
                    assert rounds.plot < 3 * CALLS * (CUTS + 4), "the cuts do not strike"
                # What an untold call may have left behind has time to be delivered twice.
                await rounds.one()
                await anyio.sleep(1)
                rounds.check()
                print(
                    f"{len(rounds.accepted)} accepted, {len(rounds.untold)} untold, "
                    f"{(time.monotonic() - began) / CUTS:.1f} s for each cut"
                )

    with sim, rig.Office(tmp_path) as office:
        gate = rig.Gate(office)
        gate.open()
        try:
            rig.put(targets.BoardTarget("pico", sim), rig.APPS / "small_queue.py")
            anyio.run(scenario, office, gate)
        except BaseException:
            print((tmp_path / "bridge.log").read_text()[-4000:])
            raise
        finally:
            gate.shut()
