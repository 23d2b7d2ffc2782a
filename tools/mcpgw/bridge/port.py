"""A serial port, or a TCP connection to one, served by two threads: the same on every system."""

import os
import queue
import socket
import threading
from contextlib import suppress

import serial

try:
    from termios import error as TermiosError
except ImportError:  # Windows
    TermiosError = OSError

_CHUNK = 65536
_POLL_S = 0.25


class _Serial:
    """pyserial's device; also its URL handlers (rfc2217:// and others)."""

    def __init__(self, device, baud, rtscts):
        port = serial.serial_for_url(
            device, baud, rtscts=rtscts, timeout=_POLL_S, do_not_open=True
        )
        if type(port) is serial.Serial:
            port.exclusive = True
        if os.name == "nt" and not _is_windows_cdc(device):
            # The adapters on ESP32 boards wire these lines to reset and boot mode.
            port.dtr = False
            port.rts = False
        port.open()
        try:
            port.reset_input_buffer()
        except TermiosError as e:  # unplugged in between; not an OSError, as pyserial lets it out
            port.close()
            raise OSError(*e.args) from e
        self._port = port

    def read(self):
        data = self._port.read(1)
        waiting = self._port.in_waiting if data else 0
        return data + self._port.read(min(waiting, _CHUNK)) if waiting else data

    def write(self, data):
        self._port.write(data)

    def cancel(self):
        for name in ("cancel_read", "cancel_write"):
            if hasattr(self._port, name):
                getattr(self._port, name)()

    def close(self):
        self._port.close()


def _is_windows_cdc(device):
    """Whether Windows' own driver serves the port: a board with native USB, which needs DTR."""
    from serial.tools import list_ports

    found = list(list_ports.grep(device))
    return not found or getattr(found[0], "manufacturer", "") == "Microsoft"


class _Socket:
    """socket://HOST:PORT: a raw TCP connection."""

    def __init__(self, url):
        host, _, port = url.removeprefix("socket://").rstrip("/").rpartition(":")
        self._socket = socket.create_connection((host.strip("[]"), int(port)), timeout=5)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(_POLL_S)

    def read(self):
        try:
            data = self._socket.recv(_CHUNK)
        except TimeoutError:
            return b""
        if not data:
            raise OSError("the other side closed the connection")
        return data

    def write(self, data):
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except TimeoutError:
                continue

    def cancel(self):
        with suppress(OSError):  # it may be gone already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._socket.close()


class Port:
    """An open port. Data and the end arrive as calls in the event loop's thread.

    device: what pyserial opens, or socket://HOST:PORT; on_data: function(bytes);
    on_gone: function(str) called once when the port fails, not when it is closed.
    Opening blocks and raises OSError (SerialException is one).
    """

    def __init__(self, device, loop, on_data, on_gone, baud=115200, rtscts=False):
        try:
            if device.startswith("socket://"):
                self._raw = _Socket(device)
            else:
                self._raw = _Serial(device, baud, rtscts)
        except ValueError as e:  # pyserial's word for an impossible setting or URL
            raise OSError(f"{device}: {e}") from e
        self._loop = loop
        self._on_data = on_data
        self._on_gone = on_gone
        self._out = queue.SimpleQueue()
        self._closing = False
        self._flow = threading.Event()
        self._flow.set()
        self.unsent = 0  # bytes that wait for the board to read them
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._guard, args=(work,), daemon=True, name=f"port-{name}")
            for name, work in (("read", self._read), ("write", self._write))
        ]
        for thread in self._threads:
            thread.start()

    def write(self, data):
        """Queue bytes; never blocks."""
        with self._lock:
            self.unsent += len(data)
        self._out.put(data)

    def pause(self, stop):
        """Stop reading (the board then waits), or go on."""
        if stop:
            self._flow.clear()
        else:
            self._flow.set()

    def close(self):
        """Blocks for up to a second."""
        self._closing = True
        self._flow.set()
        self._out.put(None)
        with suppress(OSError):  # a device that vanished cannot be cancelled, nor need it be
            self._raw.cancel()
        for thread in self._threads:
            thread.join(0.5)
        with suppress(OSError):
            self._raw.close()

    def _read(self):
        while not self._closing:
            data = self._raw.read()
            if data:
                self._call(self._on_data, data)
            self._flow.wait()

    def _write(self):
        while not self._closing:
            data = self._out.get()
            if data is None:
                return
            self._raw.write(data)
            with self._lock:
                self.unsent -= len(data)

    def _guard(self, work):
        try:
            work()
        except (OSError, TermiosError, TypeError, ValueError, AttributeError) as e:
            # The last three are pyserial's when the port is closed under a call.
            if not self._closing:
                self._call(self._on_gone, _why_gone(e))

    def _call(self, function, value):
        try:
            self._loop.call_soon_threadsafe(function, value)
        except RuntimeError:
            self._closing = True  # the loop has ended


def _why_gone(error):
    """What to tell people of an error that ended a port."""
    text = str(error) or type(error).__name__
    # What pyserial says where a device that is no more reads as empty.
    return "it was unplugged, or lost its power" if "returned no data" in text else text
