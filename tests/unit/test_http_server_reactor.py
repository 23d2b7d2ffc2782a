"""The reactor on real sockets, beside tasks that wait for streams of their own."""

import asyncio
import socket

from mcp_gw import reactor
from mcp_gw.compat import MICROPYTHON, run_until, sleep_ms, spawn

PORTS = range(20000, 60000, 37)


def listen():
    """(listening socket, address): MicroPython cannot tell which port it was given."""
    for port in PORTS:
        address = socket.getaddrinfo("127.0.0.1", port)[0][-1]
        listener = socket.socket()
        try:
            listener.bind(address)
            listener.listen(5)
            return listener, address
        except OSError:
            listener.close()
    raise OSError("no free port")


def pair():
    """Two connected sockets, the first not blocking."""
    listener, address = listen()
    far = socket.socket()
    far.connect(address)
    near = listener.accept()[0]
    near.setblocking(False)
    listener.close()
    return near, far


def until(condition):
    """Run the loop until condition() holds."""

    async def steps():
        for _ in range(2000):
            reactor.adopt()
            if condition():
                return True
            await sleep_ms(2)
        return False

    return run_until(steps())


def quietly(n=5):
    """Run the loop for a little."""

    async def steps():
        for _ in range(n):
            reactor.adopt()
            await sleep_ms(2)

    run_until(steps())


def test_calls_while_there_is_something_to_read():
    near, far = pair()
    seen = []

    def call():
        seen.append(near.recv(2))

    reactor.watch(near, call)
    far.send(b"abcd")
    assert until(lambda: b"".join(seen) == b"abcd") and len(seen) == 2
    quietly()
    assert len(seen) == 2
    reactor.unwatch(near)
    reactor.unwatch(near)  # once more does no harm
    far.send(b"ef")
    quietly()
    assert len(seen) == 2
    reactor.watch(near, call)
    assert until(lambda: len(seen) == 3)
    far.close()
    assert until(lambda: seen[-1] == b"")
    reactor.unwatch(near)
    near.close()


def test_a_loop_that_runs_now_and_then():
    near, far = pair()
    seen = []

    async def turn():
        await sleep_ms(1)

    reactor.watch(near, lambda: seen.append(near.recv(1)))
    far.send(b"abc")
    for _ in range(1000):
        reactor.adopt()
        run_until(turn())
        if len(seen) == 3:
            break
    assert seen == [b"a", b"b", b"c"]
    reactor.unwatch(near)
    near.close()
    far.close()


def test_writing_and_neither():
    near, far = pair()
    count = [0]

    def call():
        count[0] += 1
        if count[0] == 3:
            reactor.watch(near, call, True, False)

    reactor.watch(near, call, False, True)
    assert until(lambda: count[0] == 3)
    quietly()
    assert count[0] == 3
    far.send(b"x")
    assert until(lambda: count[0] > 3)
    reactor.unwatch(near)
    near.close()
    far.close()


def test_what_a_call_raises_goes_to_the_hook():
    near, far = pair()
    other, other_far = pair()
    raised = []
    seen = []

    def bad():
        near.recv(1)
        raise ValueError("on purpose")

    reactor.report(raised.append)
    try:
        reactor.watch(near, bad)
        reactor.watch(other, lambda: seen.append(other.recv(1)))
        far.send(b"12")
        other_far.send(b"ab")
        assert until(lambda: len(raised) == 2 and len(seen) == 2)
        assert all(type(e) is ValueError for e in raised)
    finally:
        reactor.report(None)
        for sock in (near, other):
            reactor.unwatch(sock)
        for sock in (near, far, other, other_far):
            sock.close()


def test_one_call_may_end_the_others():
    pairs = [pair() for _ in range(4)]
    called = []

    def call():
        called.append(1)
        for near, _ in pairs:
            reactor.unwatch(near)
            near.close()

    for near, far in pairs:
        reactor.watch(near, call)
        far.send(b"x")
    assert until(lambda: called)
    quietly()
    assert len(called) == 1
    for _, far in pairs:
        far.close()


def test_tasks_wait_for_streams_beside_it():
    near, far = pair()
    other, other_far = pair()
    seen = []

    async def task():
        for _ in range(3):
            if MICROPYTHON:
                seen.append(await asyncio.StreamReader(other).read(1))
            else:
                seen.append(await asyncio.get_running_loop().sock_recv(other, 1))

    def call():
        near.recv(1)
        other_far.send(b"!")

    spawn(task())
    reactor.watch(near, call)
    quietly()
    far.send(b"123")
    assert until(lambda: len(seen) == 3)
    reactor.unwatch(near)
    for sock in (near, far, other, other_far):
        sock.close()


def test_a_call_may_cancel_whichever_task_ran_last():
    near, far = pair()
    state = []

    async def task():
        state.append("began")
        try:
            while True:
                await sleep_ms(10_000)
        finally:
            state.append("ended")

    running = []

    def call():
        near.recv(1)
        running[0].cancel()

    async def steps():
        reactor.adopt()
        running.append(asyncio.create_task(task()))
        while not state:
            await sleep_ms(1)
        far.send(b"x")
        await sleep_ms(0)
        # From here on `task` may be the one that ran last.
        for _ in range(500):
            if "ended" in state:
                break
            await sleep_ms(2)

    reactor.watch(near, call)
    failed = []
    reactor.report(failed.append)
    try:
        run_until(steps())
    finally:
        reactor.report(None)
    assert state == ["began", "ended"] and not failed
    reactor.unwatch(near)
    near.close()
    far.close()
