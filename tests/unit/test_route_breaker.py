from mcp_gw.compat import ticks_add
from mcp_gw.route.breaker import CLOSED, HALF_OPEN, OPEN, Breaker

START = 0x3FFFFFFF - 7000  # ticks wrap on the way


class Clock:
    def __init__(self):
        self.now = START

    def later(self, ms):
        self.now = ticks_add(self.now, ms)
        return self.now


def fail(breaker, clock, times=1):
    for _ in range(times):
        assert breaker.passes(clock.now)
        breaker.begin()
        breaker.failed(clock.now)


def test_it_opens_after_failures_in_a_row_only():
    clock = Clock()
    breaker = Breaker(3, 5000, 20000)
    for _ in range(5):
        fail(breaker, clock, 2)
        breaker.begin()
        breaker.succeeded()
        clock.later(10)
    assert breaker.state == CLOSED and breaker.opened == 0
    fail(breaker, clock, 3)
    assert breaker.state == OPEN and breaker.opened == 1
    assert not breaker.passes(clock.now)
    assert breaker.left_ms(clock.now) == 5000


def test_one_request_tries_and_its_outcome_decides():
    clock = Clock()
    breaker = Breaker(1, 5000, 20000)
    fail(breaker, clock)
    assert not breaker.passes(clock.later(4999))
    assert breaker.left_ms(clock.now) == 1
    assert breaker.passes(clock.later(1)) and breaker.state == HALF_OPEN
    assert breaker.begin()
    assert not breaker.passes(clock.later(60000))  # one at a time
    breaker.succeeded()
    assert breaker.state == CLOSED and breaker.passes(clock.now)
    assert not breaker.begin()


def test_each_failed_try_doubles_the_time_up_to_a_limit():
    clock = Clock()
    breaker = Breaker(1, 5000, 20000)
    fail(breaker, clock)
    for wanted in (5000, 10000, 20000, 20000):
        assert breaker.left_ms(clock.now) == wanted
        assert not breaker.passes(clock.later(wanted - 1))
        clock.later(1)
        fail(breaker, clock)
    clock.later(20000)
    assert breaker.passes(clock.now)
    breaker.begin()
    breaker.succeeded()
    fail(breaker, clock)  # and begins anew after a success
    assert breaker.left_ms(clock.now) == 5000


def test_a_try_that_was_given_up_leaves_room_for_the_next():
    clock = Clock()
    breaker = Breaker(1, 100, 1000)
    fail(breaker, clock)
    clock.later(100)
    assert breaker.passes(clock.now) and breaker.begin()
    assert not breaker.passes(clock.now)
    breaker.dropped()
    assert breaker.passes(clock.now) and breaker.state == HALF_OPEN


def test_what_was_sent_before_it_opened_does_not_prolong_it():
    clock = Clock()
    breaker = Breaker(2, 5000, 20000)
    fail(breaker, clock, 2)
    breaker.failed(clock.later(4000))
    assert breaker.passes(clock.later(1000))
