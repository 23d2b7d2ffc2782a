"""The client's end: this process's stdin and stdout, served by threads, which works on every
system.
"""

import os
import queue
import sys
import threading
from contextlib import suppress

_CHUNK = 65536


def binary_stdio():
    """File descriptors of stdin and stdout, with no translation of line ends on Windows."""
    fds = sys.stdin.fileno(), sys.stdout.fileno()
    if os.name == "nt":
        import msvcrt

        for fd in fds:
            msvcrt.setmode(fd, os.O_BINARY)
    return fds


class Reader:
    """Reads a file descriptor. on_data: function(bytes), on_end: function(), in the loop's
    thread.
    """

    def __init__(self, fd, loop, on_data, on_end):
        self._fd = fd
        self._loop = loop
        self._on_data = on_data
        self._on_end = on_end
        self._flow = threading.Event()
        self._flow.set()
        threading.Thread(target=self._work, daemon=True, name="stdin").start()

    def pause(self, stop):
        """Stop reading, or go on."""
        if stop:
            self._flow.clear()
        else:
            self._flow.set()

    def _work(self):
        try:
            while True:
                self._flow.wait()
                try:
                    data = os.read(self._fd, _CHUNK)
                except OSError:
                    data = b""  # a client that died can show as an error
                if not data:
                    self._loop.call_soon_threadsafe(self._on_end)
                    return
                self._loop.call_soon_threadsafe(self._on_data, data)
        except RuntimeError:
            return  # the loop has ended


class Writer:
    """Writes to a file descriptor without blocking the loop. on_gone: function(), when nobody
    reads it.
    """

    def __init__(self, fd, loop, on_gone):
        self._fd = fd
        self._loop = loop
        self._on_gone = on_gone
        self._out = queue.SimpleQueue()
        self._lock = threading.Lock()
        self.unsent = 0
        self._thread = threading.Thread(target=self._work, daemon=True, name="stdout")
        self._thread.start()

    def write(self, data):
        with self._lock:
            self.unsent += len(data)
        self._out.put(data)

    def close(self, timeout_s=2.0):
        """Write what is queued, for up to timeout_s."""
        self._out.put(None)
        self._thread.join(timeout_s)

    def _work(self):
        while True:
            data = self._out.get()
            if data is None:
                return
            view = memoryview(data)
            try:
                while view:
                    view = view[os.write(self._fd, view) :]
            except OSError:
                with suppress(RuntimeError):  # the loop may have ended
                    self._loop.call_soon_threadsafe(self._on_gone)
                return
            with self._lock:
                self.unsent -= len(data)
