"""Turns: so many calls at once of all, of one board, and at one destination.

Whoever waits holds nothing meanwhile, so that a destination that takes its time holds up nobody
who wants another, not even from the same board. First come, first served, of those that fit.
"""

import asyncio
import contextlib

from ..bridge.deliver import Busy

# How long a call waits for its turn.
PATIENCE_S = 10.0


class Slots:
    """most: of all; of_board: of one board; at: function(destination) -> at one destination."""

    def __init__(self, most, of_board, at):
        self._most = most
        self._of_board = of_board
        self._at = at
        self._boards = {}  # board -> turns taken
        self._destinations = {}
        self._waiting = []  # (Future, board, destination)
        self.taken = 0

    @contextlib.asynccontextmanager
    async def turn(self, board, destination):
        """Raises Busy when the turn does not come in time."""
        if self._fits(board, destination):
            self._take(board, destination)
        else:
            await self._wait(board, destination)
        try:
            yield
        finally:
            self._leave(board, destination)

    async def _wait(self, board, destination):
        row = asyncio.get_running_loop().create_future(), board, destination
        self._waiting.append(row)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await row[0]
        except BaseException as e:
            if row in self._waiting:
                self._waiting.remove(row)
            elif row[0].done() and not row[0].cancelled():
                self._leave(board, destination)  # it came at this very moment
            if isinstance(e, TimeoutError):
                raise Busy("too many calls are under way; ask again") from None
            raise

    def _fits(self, board, destination):
        return (
            self.taken < self._most
            and self._boards.get(board, 0) < self._of_board
            and self._destinations.get(destination, 0) < self._at(destination)
        )

    def _take(self, board, destination):
        self.taken += 1
        self._boards[board] = self._boards.get(board, 0) + 1
        self._destinations[destination] = self._destinations.get(destination, 0) + 1

    def _leave(self, board, destination):
        self.taken -= 1
        for counts, name in ((self._boards, board), (self._destinations, destination)):
            counts[name] -= 1
            if not counts[name]:
                del counts[name]
        for row in self._waiting[:]:
            if self.taken == self._most:
                break
            future, board, destination = row
            if not future.done() and self._fits(board, destination):
                self._waiting.remove(row)
                self._take(board, destination)
                future.set_result(None)
