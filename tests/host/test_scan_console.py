"""_mcpscan.read() and write() of the unix build, on pipes and on a terminal."""

import os
import signal
import subprocess
import sys
import time

import pytest
import targets
from waiting import PATIENCE_S

fcntl = pytest.importorskip("fcntl")
pty = pytest.importorskip("pty")
termios = pytest.importorskip("termios")

ECHO = """
import _mcpscan as m
buf = bytearray(70000)
while True:
    n = m.read(buf, 5, len(buf))
    if n < 0:
        break
    if m.write(buf, 5, 5 + n) != n:
        raise OSError
"""


@pytest.fixture
def start(tmp_path):
    """start(script, **files) -> a running child of the unix build; killed at the end."""
    children = []

    def run(script, **files):
        path = tmp_path / "script.py"
        path.write_text(script)
        files = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, **files}
        child = subprocess.Popen([targets.firmware("unix"), str(path)], **files)
        children.append(child)
        return child

    yield run
    for child in children:
        child.kill()
        child.wait()
        for file in (child.stdin, child.stdout, child.stderr):
            if file:
                file.close()


def read_exactly(fd, size):
    data = b""
    while len(data) < size:
        part = os.read(fd, size - len(data))
        assert part, data
        data += part
    return data


def test_bytes_pass_unchanged_until_the_end_of_the_file(start):
    child = start(ECHO)
    everything = bytes(range(256)) * 1000
    out, _ = child.communicate(everything, timeout=PATIENCE_S)
    assert out == everything
    assert child.returncode == 0


def test_read_takes_what_is_there_and_does_not_wait(start):
    child = start(
        """
import _mcpscan as m
buf = bytearray(16)
print(m.read(buf, 0, 16), buf == bytes(16))
n = 0
while not n:
    n = m.read(buf, 2, 6)
print(n, bytes(buf))
print(m.read(buf, 0, 16), bytes(buf[:3]))
print(m.read(buf, 3, 3), m.read(buf, 0, 16))
n = 0
while not n:
    n = m.read(buf, 0, 16)
print(n, m.read(buf, 0, 16), m.read(buf, 7, 7))
"""
    )
    lines = child.stdout
    assert lines.readline() == b"0 True\n"
    child.stdin.write(b"abcdefg")
    child.stdin.flush()
    assert lines.readline() == b"4 " + repr(b"\0\0abcd" + bytes(10)).encode() + b"\n"
    assert lines.readline() == b"3 b'efg'\n"
    assert lines.readline() == b"0 0\n"
    child.stdin.close()
    assert lines.readline() == b"-1 -1 0\n"
    assert child.wait(PATIENCE_S) == 0


WRITE = """
import _mcpscan as m, sys
data = bytes(range(251)) * 4001
try:
    n = m.write(data, 1, len(data))
    print(n, file=sys.stderr)
except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
"""


@pytest.mark.parametrize("blocking", [True, False])
def test_write_waits_for_a_slow_reader(start, blocking):
    out, into = os.pipe()
    os.set_blocking(into, blocking)
    child = start(WRITE, stdout=into, stderr=subprocess.PIPE)
    os.close(into)
    time.sleep(0.3)
    assert child.poll() is None
    got = b""
    while part := os.read(out, 100_000):
        got += part
        time.sleep(0.005)
    os.close(out)
    assert got == (bytes(range(251)) * 4001)[1:]
    assert child.stderr.read() == b"%d\n" % len(got)


def test_write_ends_when_nobody_reads_any_more(start):
    out, into = os.pipe()
    child = start(WRITE, stdout=into, stderr=subprocess.PIPE)
    os.close(into)
    os.read(out, 1000)
    os.close(out)
    n = int(child.stderr.read())
    assert 1000 <= n < 251 * 4001 - 1
    assert child.wait(PATIENCE_S) == 0


def waiting(fd):
    """Bytes in the pipe."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_ctrl_c_ends_a_write_that_waits(start):
    out, into = os.pipe()
    child = start(WRITE, stdout=into, stderr=subprocess.PIPE)
    while waiting(out) < fcntl.fcntl(out, fcntl.F_GETPIPE_SZ):
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    assert child.stderr.read() == b"interrupted\n"
    os.close(out)
    os.close(into)


def test_ctrl_c_ends_a_loop_of_reads(start):
    child = start(
        """
import _mcpscan as m
buf = bytearray(8)
try:
    print("go")
    while True:
        m.read(buf, 0, 8)
except KeyboardInterrupt:
    print("interrupted")
"""
    )
    assert child.stdout.readline() == b"go\n"
    child.send_signal(signal.SIGINT)
    assert child.stdout.readline() == b"interrupted\n"


def test_the_terminal_keeps_its_mode(start):
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    child = start(ECHO, stdin=slave, stdout=slave)
    os.write(master, b"hello\n")
    # Once from the terminal's echo, once from the program; the terminal makes CR LF of LF.
    assert read_exactly(master, 14) == b"hello\r\nhello\r\n"
    assert termios.tcgetattr(slave) == before
    os.close(slave)
    # The other side hangs up: the end of the file, not an error.
    os.close(master)
    assert child.wait(PATIENCE_S) == 0


def test_arguments_are_checked(start):
    child = start(
        """
import _mcpscan as m
for call, args in (
    (m.read, (b"abc", 0, 3)),
    (m.read, (5, 0, 0)),
    (m.write, (5, 0, 0)),
    (m.read, (bytearray(3), 0, 4)),
    (m.read, (bytearray(3), -1, 3)),
    (m.read, (bytearray(3), 3, 2)),
    (m.write, (b"abc", 0, 4)),
    (m.write, (b"abc", -3, 3)),
    (m.write, (b"abc", 2, 1)),
):
    try:
        call(*args)
        print("accepted", args)
    except (TypeError, ValueError) as e:
        print(type(e).__name__)
print(m.write(b"", 0, 0), m.write(bytearray(), 0, 0), m.read(bytearray(), 0, 0))
"""
    )
    out, _ = child.communicate(timeout=PATIENCE_S)
    assert out.split() == [b"TypeError"] * 3 + [b"ValueError"] * 6 + [b"0"] * 3
