"""A pseudo-terminal in front of a socket: the serial port that clients of a simulated board open.

Clients come and go; the pty stays until close(). As with a USB serial port, what the board sends
while nobody has the port open is not kept for the next client, and closing the pty hangs up on a
client as unplugging does. POSIX only; imported only when a pty is asked for.
"""

import contextlib
import os
import select
import sys
import threading
import tty

CHUNK = 65536
CLOSED_POLL_MS = 20  # how often to look whether somebody opened the port


class PtyPort:
    """Joins `sock` (connected, to the board) to a new pty.

    link: a symbolic link to keep at the pty. on_open(bool): a client opened or closed the port;
    called from the port's own thread, on Linux only (elsewhere the port counts as always open).
    The socket is not closed by close().
    """

    def __init__(self, sock, link=None, on_open=None):
        self._sock = sock
        self._on_open = on_open or (lambda is_open: None)
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        # Linux says on the master whether the slave is open, if we do not hold it ourselves.
        # Elsewhere holding it is what keeps the pty alive between two clients.
        self._watch = sys.platform == "linux"
        self._slave = None if self._watch else slave
        if self._watch:
            os.close(slave)
        os.set_blocking(self._master, False)
        self._sock.setblocking(False)
        self._open = not self._watch
        self._to_client = b""
        self._to_board = b""
        self._wake_out, self._wake_in = os.pipe()
        self.link = link
        if link:
            self._make_link()
        self._discard()
        if not self._watch:
            self._on_open(True)
        self._thread = threading.Thread(target=self._run, name="pty", daemon=True)
        self._thread.start()

    def _make_link(self):
        fresh = f"{self.link}.{os.getpid()}.new"
        os.symlink(self.path, fresh)
        os.replace(fresh, self.link)

    def close(self):
        """Unplug: the client's next read or write fails, the link is gone."""
        if self._master < 0:
            return
        os.write(self._wake_in, b"x")
        if threading.current_thread() is not self._thread:
            self._thread.join()
        if self.link:
            with contextlib.suppress(OSError):
                if os.readlink(self.link) == self.path:
                    os.unlink(self.link)
        for fd in (self._master, self._slave, self._wake_in, self._wake_out):
            if fd is not None:
                os.close(fd)
        self._master = -1

    def _discard(self):
        with contextlib.suppress(OSError):
            while self._sock.recv(CHUNK):
                pass

    def _run(self):
        while True:
            ready = self._wait()
            if self._wake_out in ready:
                return
            if not self._move(ready):
                return

    def _wait(self):
        """Poll what can make progress now. Returns {fd: events}."""
        poller = select.poll()
        poller.register(self._wake_out, select.POLLIN)
        events = 0
        if not self._to_client:
            events |= select.POLLIN
        if self._to_board:
            events |= select.POLLOUT
        poller.register(self._sock, events)
        if not self._open:
            ready = dict(poller.poll(CLOSED_POLL_MS))
            poller = select.poll()
            poller.register(self._master, select.POLLIN)
            ready.update(poller.poll(0))
            return ready
        events = 0
        if not self._to_board:
            events |= select.POLLIN
        if self._to_client:
            events |= select.POLLOUT
        poller.register(self._master, events)
        return dict(poller.poll())

    def _move(self, ready):
        """Move what is ready. Returns False when the board's end is gone."""
        on_master = ready.get(self._master, 0)
        hung_up = on_master & select.POLLHUP and not on_master & select.POLLIN
        if self._watch and self._open == bool(hung_up):
            self._open = not hung_up
            self._to_client = b""
            self._on_open(self._open)
        if on_master & select.POLLIN and not self._to_board:
            self._to_board = self._read_client()
        try:
            if self._to_board:
                self._to_board = self._to_board[self._sock.send(self._to_board) :]
        except BlockingIOError:
            pass
        except OSError:
            return False
        if ready.get(self._sock.fileno(), 0) & (select.POLLIN | select.POLLHUP):
            try:
                data = self._sock.recv(CHUNK)
            except BlockingIOError:
                data = None
            except OSError:
                return False
            if data == b"":
                return False
            if data and self._open:
                self._to_client += data
        if self._to_client:
            self._write_client()
        return True

    def _read_client(self):
        try:
            return os.read(self._master, CHUNK)
        except OSError:  # nothing there, or the client has just closed the port
            return b""

    def _write_client(self):
        try:
            self._to_client = self._to_client[os.write(self._master, self._to_client) :]
        except BlockingIOError:
            pass
        except OSError:
            self._to_client = b""
