"""A thread for what waits for the disk. What piles up while it syncs is synced together next."""

import asyncio
import contextlib
import queue
import threading

# Operations in one transaction at most, so that the first of them need not wait long.
_MOST = 256


class Disk:
    """Runs functions in order, in one thread, several in one transaction.

    together: function([(function, args), ...]) -> [(True, value) or (False, exception), ...] whose
    effects are durable when it returns; raises what concerns all of them.
    """

    def __init__(self, together, name="disk"):
        self._together = together
        self._jobs = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True, name=name)
        self._thread.start()

    def run(self, function, *args):
        """A Future of the running loop for function(*args)."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._jobs.put((function, args, loop, future))
        return future

    def close(self):
        """Do what is left and end; blocks."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self):
        last = False
        while not last:
            jobs = [self._jobs.get()]
            while jobs[-1] is not None and len(jobs) < _MOST:
                try:
                    jobs.append(self._jobs.get_nowait())
                except queue.Empty:
                    break
            if jobs[-1] is None:
                last = True
                jobs.pop()
            if jobs:
                self._tell(jobs, self._outcomes([(job[0], job[1]) for job in jobs]))

    def _outcomes(self, calls):
        if len(calls) > 1:
            try:
                return self._together(calls)
            except Exception:
                pass  # one may have spoilt it for all: each by itself, then
        return [_outcome(function, args) for function, args in calls]

    @staticmethod
    def _tell(jobs, outcomes):
        loops = {}
        for (_, _, loop, future), outcome in zip(jobs, outcomes, strict=True):
            loops.setdefault(loop, []).append((future, outcome))
        for loop, rows in loops.items():
            with contextlib.suppress(RuntimeError):  # the loop may have ended
                loop.call_soon_threadsafe(_settle, rows)


def _outcome(function, args):
    try:
        return True, function(*args)
    except Exception as e:
        return False, e


def _settle(rows):
    for future, (good, value) in rows:
        if future.done():
            continue
        if good:
            future.set_result(value)
        else:
            future.set_exception(value)
