"""Turns of boards' calls: never more than there may be, none lost, nobody held up by others."""

import asyncio
import random

import pytest
from mcpgw.bridge.deliver import Busy
from mcpgw.pi import slots
from mcpgw.pi.slots import Slots
from soak import count


def test_random_lives(seed):
    """Calls come, wait, are given up and end, in any order."""
    dice = random.Random(seed)
    turns = Slots(5, 3, lambda destination: 2)
    under_way = []

    def check():
        assert turns.taken == len(under_way) <= 5
        for at, most in ((0, 3), (1, 2)):
            names = [row[at] for row in under_way]
            assert all(names.count(name) <= most for name in names)

    async def call(board, destination):
        async with turns.turn(board, destination):
            under_way.append((board, destination))
            try:
                check()
                for _ in range(dice.randrange(4)):
                    await asyncio.sleep(0)
            finally:
                under_way.remove((board, destination))

    async def main():
        tasks = []
        for _ in range(count(3000, 100_000)):
            tasks.append(asyncio.ensure_future(call(dice.randrange(4), dice.randrange(5))))
            if dice.random() < 0.2:
                dice.choice(tasks).cancel()
            if dice.random() < 0.5:
                await asyncio.sleep(0)
            tasks = [task for task in tasks if not task.done()]
        await asyncio.gather(*tasks, return_exceptions=True)
        assert turns.taken == 0 and not turns._waiting
        assert not turns._boards and not turns._destinations

    asyncio.run(main())


def test_who_waits_holds_nothing(monkeypatch):
    monkeypatch.setattr(slots, "PATIENCE_S", 0.05)
    turns = Slots(4, 2, lambda destination: 1)

    async def main():
        async with turns.turn("a", "slow"):
            waiting = [asyncio.ensure_future(enter("a", "slow")) for _ in range(5)]
            await asyncio.sleep(0)
            await enter("a", "quick")
            await enter("b", "quick")
            for task in waiting:
                with pytest.raises(Busy) as caught:
                    await task
                assert caught.value.retry_ms > 0
        await enter("a", "slow")

    async def enter(board, destination):
        async with turns.turn(board, destination):
            pass

    asyncio.run(main())
