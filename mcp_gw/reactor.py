"""Calls functions when streams are ready: inside the asyncio event loop, without a task or a task
switch for each.

    watch(stream, call, read=True, write=False)    call() whenever `stream` is ready, or broken
    unwatch(stream)                                no more; before it is closed
    report(log)                                    who is told what call() raises
    adopt()                                        now and then, by whoever runs the event loop

call() gets no arguments: it tries what it has to do and takes "not now" for an answer. It is
called again and again while the stream stays ready (level-triggered). watch() of a watched stream
replaces what was. A stream is anything the event loop can wait for: a socket, sys.stdin, a
machine.UART; where that is in doubt ask compat.pollable() first. What call() raises goes to
what report() was given; the loop goes on.
"""

import sys

from .compat import MICROPYTHON

_log = None


def report(log):
    """log: function(exception) from now on, None: standard error is told."""
    global _log
    _log = log


def _failed(e):
    if _log:
        _log(e)
    elif MICROPYTHON:
        sys.print_exception(e, sys.stderr)
    else:
        sys.excepthook(type(e), e, e.__traceback__)


if MICROPYTHON:
    import select
    from asyncio import core

    _IN = select.POLLIN
    _OUT = select.POLLOUT
    _queue = None
    _calls = {}  # id(stream) -> call
    # (stream, mask, None: unregister) for the poller: it must not change while it is iterated, so
    # all wait here until it is asked the next time. What is in it or here is kept alive by that.
    _changes = []

    class _Queue(core.IOQueue):
        """asyncio's queue of waiting tasks, with watched streams beside them in its poller."""

        def __init__(self, old):
            # The tasks that wait already go on waiting here.
            self.poller = old.poller
            self.map = old.map
            self._iterating = False

        def wait_io_event(self, dt):
            if _changes:
                self._change()
            calls = _calls
            core.cur_task = None  # no task runs: any may be cancelled from here
            self._iterating = True
            for stream, event in self.poller.ipoll(dt):
                call = calls.get(id(stream))
                if call is None:
                    self._wake(stream, event)
                    continue
                try:
                    call()
                except Exception as e:
                    _failed(e)
            self._iterating = False

        def _change(self):
            for stream, mask in _changes:
                if mask is None:
                    self.poller.unregister(stream)
                else:
                    self.poller.register(stream, mask)
            _changes.clear()

        def _wake(self, stream, event):
            """A stream of asyncio's own is ready: schedule who waits for it."""
            entry = self.map.get(id(stream))
            if entry is None:
                return  # unwatched or cancelled a moment ago
            if entry[0] is not None and event & ~_OUT:
                core._task_queue.push(entry[0])
                entry[0] = None
            if entry[1] is not None and event & ~_IN:
                core._task_queue.push(entry[1])
                entry[1] = None
            if entry[0] is not None:
                self.poller.modify(stream, _IN | _OUT if entry[1] is not None else _IN)
            elif entry[1] is not None:
                self.poller.modify(stream, _OUT)
            else:
                self._dequeue(stream)

        def _dequeue(self, s):
            if self._iterating:
                del self.map[id(s)]
                _changes.append((s, None))
            else:
                super()._dequeue(s)

        def _enqueue(self, s, idx):
            if _changes:
                self._change()
            super()._enqueue(s, idx)

    def watch(stream, call, read=True, write=False):
        global _queue
        if core._io_queue is not _queue:  # the first time, or a new event loop
            _calls.clear()
            _changes.clear()
            _queue = core._io_queue = _Queue(core._io_queue)
        _calls[id(stream)] = call
        _changes.append((stream, (_IN if read else 0) | (_OUT if write else 0)))

    def unwatch(stream):
        if _calls.pop(id(stream), None) is not None:
            _changes.append((stream, None))

    def adopt():
        """There is one loop only."""

else:
    from .compat import this_loop

    _watched = {}  # stream -> (call, read, write)
    _loop = None  # where they are registered

    def _run(call):
        try:
            call()
        except Exception as e:
            _failed(e)

    def _register(stream, call, read, write):
        if read:
            _loop.add_reader(stream, _run, call)
        else:
            _loop.remove_reader(stream)
        if write:
            _loop.add_writer(stream, _run, call)
        else:
            _loop.remove_writer(stream)

    def watch(stream, call, read=True, write=False):
        _watched[stream] = call, read, write
        if _loop is not None and not _loop.is_closed():
            _register(stream, call, read, write)

    def unwatch(stream):
        if _watched.pop(stream, None) and _loop is not None and not _loop.is_closed():
            _loop.remove_reader(stream)
            _loop.remove_writer(stream)

    def adopt():
        """Let the loop that is in use now call for what was watched before."""
        global _loop
        loop = this_loop()
        if loop is _loop:
            return
        if _loop is not None and not _loop.is_closed():
            for stream in _watched:
                _loop.remove_reader(stream)
                _loop.remove_writer(stream)
        _loop = loop
        for stream, (call, read, write) in _watched.items():
            _register(stream, call, read, write)
