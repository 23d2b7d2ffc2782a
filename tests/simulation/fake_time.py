"""Simulated time: an asyncio event loop that never waits, processes in it that can be killed, and
the one place where clocks and randomness are replaced.
"""

import asyncio
import builtins
import contextlib
import contextvars
import functools
import os
import random
import time
import weakref

import mcpgw.bridge.calls
from mcpgw.bridge.disk import Disk

import mcp_gw.clock
import mcp_gw.compat
import mcp_gw.gateway
import mcp_gw.transports.serial

# 2026-03-01T00:00:00Z, when every simulation begins.
START = 1_772_323_200

_CURRENT = contextvars.ContextVar("process", default=None)


class Stuck(Exception):
    """Nothing is scheduled any more, and yet somebody waits."""


class Process:
    """One board or computer from a start to its end. Whatever it runs carries it in its context,
    so that all of it can be stopped at once, as when power fails or at SIGKILL: no `finally` of
    it has any effect on the world.

    clock_error: seconds by which its wall clock is wrong.
    """

    def __init__(self, name, loop):
        self.name = name
        self.alive = True
        self.loop = loop
        self.started = loop.time()
        self.clock_error = 0
        self.tasks = weakref.WeakKeyDictionary()  # in the order in which they were made
        self.context = contextvars.copy_context()
        self.context.run(_CURRENT.set, self)

    def call_soon(self, function, *args):
        if self.alive:
            self.loop.call_soon(function, *args, context=self.context)

    def call_at(self, when, function, *args):
        """Returns the handle, or None if it is dead."""
        if self.alive:
            return self.loop.call_at(when, function, *args, context=self.context)
        return None

    def call_later(self, delay, function, *args):
        return self.call_at(self.loop.time() + delay, function, *args)

    def run(self, function, *args):
        """Call it as a part of this process."""
        if _CURRENT.get() is self:
            return function(*args)
        return self.context.run(function, *args)

    def spawn(self, coroutine):
        return self.run(self.loop.create_task, coroutine)

    def kill(self):
        """Nothing of it runs any more, from now on."""
        if self.alive:
            self.alive = False
            self.loop.drop_handles(self)
            self.loop.call_soon(self._bury, context=contextvars.Context())

    def _bury(self):
        # What unwound meanwhile may have scheduled more. Coroutines are closed here, where it is
        # known to be without effect, rather than whenever they are collected.
        self.loop.drop_handles(self)
        for task in list(self.tasks):
            if not task.done():
                task._log_destroy_pending = False
                # What awaits in its `finally` cannot be closed, and does not matter.
                with contextlib.suppress(RuntimeError):
                    self.run(task.get_coro().close)
        self.tasks.clear()
        self.loop.drop_handles(self)


class _Selector:
    """What the loop believes to wait for input with: passes the time instead."""

    def __init__(self, loop):
        self._loop = loop

    def select(self, timeout):
        if timeout is None:
            raise Stuck
        if timeout > 0:
            self._loop.now += timeout
        return []


class Loop(asyncio.BaseEventLoop):
    """An event loop whose time is simulated. Threads' work is done in it, after a while.

    rng: random.Random for how long disks take.
    """

    def __init__(self, rng):
        super().__init__()
        self.now = 0.0
        self._rng = rng
        self._selector = _Selector(self)
        self._clock_resolution = 1e-6
        self.set_task_factory(self._make_task)
        self.errors = []
        self.set_exception_handler(Loop._failed)

    def _failed(self, context):
        self.errors.append(context)
        self.stop()

    def time(self):
        return self.now

    def call_soon(self, callback, *args, context=None):
        handle = super().call_soon(callback, *args, context=context)
        process = handle._context.get(_CURRENT)
        if process is not None and not process.alive:
            handle.cancel()  # somebody who lives has answered the dead
        return handle

    def _process_events(self, events):
        pass

    def _write_to_self(self):
        raise RuntimeError(
            "a thread has work for the loop: it would not come at the same time again"
        )

    def _make_task(self, loop, coroutine, context=None):
        task = asyncio.Task(coroutine, loop=loop, context=context)
        process = _CURRENT.get()
        if process is not None:
            process.tasks[task] = 1
            if not process.alive:
                task._log_destroy_pending = False
                coroutine.close()
        return task

    def drop_handles(self, process):
        for handle in [*self._ready, *self._scheduled]:
            if handle._context.get(_CURRENT) is process:
                handle.cancel()

    def run_in_executor(self, executor, function, *args):
        future = self.create_future()
        # A pool of one thread keeps the order.
        free = max(self.now, getattr(executor, "free_at", 0.0)) + self._rng.uniform(0.0005, 0.004)
        if executor is not None:
            executor.free_at = free
        self.call_at(free, self._execute, future, function, args)
        return future

    def _execute(self, future, function, args):
        # A process may die after the work is done and before it knows.
        try:
            done, value = future.set_result, function(*args)
        except Exception as e:
            done, value = future.set_exception, e
        self.call_later(
            self._rng.uniform(0.0, 0.002),
            lambda: future.cancelled() or done(value),
        )


class FakeDisk(Disk):
    """Does in the loop, a while later, what the thread of a Disk does, in the same transactions.

    rng: as of Loop.
    """

    def __init__(self, rng, together, name="disk"):
        self._together = together
        self._rng = rng
        self._waiting = []
        self._busy = False

    def run(self, function, *args):
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append((function, args, loop, future))
        if not self._busy:
            self._busy = True
            loop.call_later(self._rng.uniform(0.0, 0.002), self._sync, loop)
        return future

    def _sync(self, loop):
        jobs, self._waiting = self._waiting, []
        outcomes = self._outcomes([(job[0], job[1]) for job in jobs])
        # A process may die when the work is done, before it knows.
        loop.call_later(self._rng.uniform(0.0005, 0.004), self._told, loop, jobs, outcomes)

    def _told(self, loop, jobs, outcomes):
        for (_, _, _, future), (good, value) in zip(jobs, outcomes, strict=True):
            if not future.done():
                (future.set_result if good else future.set_exception)(value)
        self._busy = bool(self._waiting)
        if self._busy:
            loop.call_soon(self._sync, loop)

    def close(self):
        """Nothing is left: what uses it is killed."""


@contextlib.contextmanager
def replaced(loop, seed, say):
    """While this lasts, all of the program lives in the loop's time and draws from `seed`.

    Boards have no clock and no standard error of their own, as microcontrollers. say:
    function(process, text) gets what they print.
    """
    rng = random.Random(f"{seed}/entropy")

    def started():
        process = _CURRENT.get()
        return 0.0 if process is None else process.started

    def monotonic():
        return loop.now - started() + 1.0

    def unix():
        process = _CURRENT.get()
        return START + loop.now + (0 if process is None else process.clock_error)

    def printed(*args, sep=" ", end="\n", **_):
        say(_CURRENT.get(), sep.join(str(arg) for arg in args) + end)

    places = [
        (time, "monotonic", monotonic),
        (time, "time", unix),
        (mcp_gw.compat, "monotonic", monotonic),
        (mcp_gw.clock, "HAS_STDERR", False),
        (mcp_gw.gateway, "HAS_STDERR", False),
        (mcp_gw.transports.serial, "HAS_STDERR", False),
        (mcpgw.bridge.calls, "Disk", functools.partial(FakeDisk, random.Random(f"{seed}/keys"))),
        (os, "urandom", rng.randbytes),
        (random, "_urandom", rng.randbytes),
        (builtins, "print", printed),
    ]
    before = [(place, name, getattr(place, name)) for place, name, _ in places]
    state = random.getstate()
    random.seed(f"{seed}/random")
    asyncio.set_event_loop(loop)
    try:
        for place, name, value in places:
            setattr(place, name, value)
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)
        random.setstate(state)
        asyncio.set_event_loop(None)
