"""What differs between MicroPython and CPython, in one place."""

import asyncio
import sys

MICROPYTHON = sys.implementation.name == "micropython"
# On a board standard output is the wire; on a computer standard error is free for people.
HAS_STDERR = sys.platform in ("linux", "darwin", "win32")

try:
    from micropython import const
except ImportError:

    def const(value):
        return value


try:
    from micropython import kbd_intr  # noqa: F401 (for those who import this module)
except ImportError:

    def kbd_intr(character):
        """Which character interrupts the program; -1: none."""


try:
    from time import ticks_add, ticks_diff, ticks_ms
except ImportError:
    from time import monotonic

    def ticks_ms():
        """Milliseconds of an arbitrary clock; compare only through ticks_diff."""
        return int(monotonic() * 1000) & 0x3FFFFFFF

    def ticks_add(ticks, delta):
        return (ticks + delta) & 0x3FFFFFFF

    def ticks_diff(end, start):
        """Signed distance in ms; right while the two lie less than 2**29 ms (6 days) apart."""
        return ((end - start + 0x20000000) & 0x3FFFFFFF) - 0x20000000


if MICROPYTHON:
    spawn = asyncio.create_task
    close_with = None  # nobody minds a coroutine that never began

    def run_until(work):
        """Run `work` to its end, from inside a task too."""
        task = asyncio.core.cur_task
        try:
            return asyncio.run(work)
        finally:
            asyncio.core.cur_task = task

    sleep_ms = asyncio.sleep_ms
    _failed = None  # our handler, while it is in place

    def watch_tasks(log):
        """Have log(exception) called for a task that fails with nobody waiting for it, in place of
        a traceback on the console; None: no more. A handler of the program's own stays."""
        global _failed
        loop = asyncio.get_event_loop()
        if loop.get_exception_handler() is _failed:
            _failed = log and (lambda loop, context: log(context["exception"]))
            loop.set_exception_handler(_failed)

    def drive(steps, report):
        """Run a coroutine or generator to its end and return what it returns.

        MicroPython makes both of the same type. An await gives None here, which the event loop
        must see; whatever else comes out is a generator's report of progress.
        """
        task = asyncio.core.cur_task
        thrown = None
        while True:
            # Whatever an await waits for puts itself (or None) here; a bare yield leaves it.
            task.data = drive
            try:
                if thrown is None:
                    out = steps.send(None)
                else:
                    e, thrown = thrown, None
                    out = steps.throw(e)
            except StopIteration as e:
                return e.value
            finally:
                bare = task.data is drive
                if bare:
                    task.data = None
            try:
                if out is not None:
                    report(out)
                if bare:
                    yield from sleep_ms(0)
                else:
                    yield
            except BaseException as e:
                # A cancellation, such as asyncio.wait_for lives on, is meant for `steps`.
                thrown = e

    def pollable(stream):
        """Whether the event loop can wait for it; another stream would crash the interpreter."""
        import select

        try:
            # This poll object has a hole now if it fails: it is never used.
            select.poll().register(stream, select.POLLIN)
        except (OSError, TypeError):
            return False
        return True

    def forget_tasks():
        """Drop what an interrupted run left behind."""
        asyncio.new_event_loop()

    def set_rtc(unix_s):
        """Set the board's clock, where it has one, so that time.time() is right."""
        try:
            from time import gmtime

            from machine import RTC

            year, month, day, hour, minute, second, weekday, _ = gmtime(unix_s)
            RTC().datetime((year, month, day, weekday, hour, minute, second, 0))
        except (ImportError, OSError, ValueError):
            pass

else:
    _loop = None

    def this_loop():
        """The event loop that runs, or else the one that run_until() will run."""
        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            return _own_loop()

    def _own_loop():
        global _loop
        if _loop is None or _loop.is_closed():
            _loop = asyncio.new_event_loop()
        return _loop

    def spawn(work):
        return this_loop().create_task(work)

    def close_with(task, steps):
        """When the task is over, close what it was to run: cancelled before its first step it has
        never begun, which Python warns of. To others that makes no difference."""
        task.add_done_callback(lambda _: steps.close())

    def run_until(work):
        return _own_loop().run_until_complete(work)

    async def sleep_ms(ms):
        await asyncio.sleep(ms / 1000)

    def watch_tasks(log):
        """Nothing to do: this loop reports to standard error."""

    async def drive(steps, report):
        """Run a coroutine or generator to its end and return what it returns."""
        if hasattr(steps, "__await__"):
            return await steps
        try:
            while True:
                try:
                    out = next(steps)
                except StopIteration as e:
                    return e.value
                if out is not None:
                    report(out)
                await asyncio.sleep(0)
        finally:
            steps.close()

    def pollable(stream):
        """The streams a gateway has under CPython are objects in memory."""
        return False

    def forget_tasks():
        """Close the loop that an interrupted run used."""
        global _loop
        if _loop is not None and not _loop.is_running():
            _loop.close()
            _loop = None
