"""Pairing codes of `mcpgw pi`: what they are good for, and what is kept of them."""

import sqlite3

import pytest
from mcpgw.pi import pairing
from mcpgw.pi.pairing import LOCK_AFTER, LOCK_S, WRONG_S, Pairing, PairingError
from mcpgw.pi.store import Store


class Clock:
    now = 1_800_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def codes(tmp_path, clock):
    store = Store(tmp_path / "pi.sqlite")
    rests = []
    codes = Pairing(store, clock, rests.append)
    codes.store, codes.rests = store, rests
    yield codes
    store.close()


def refused(codes, code, identity="b1", address="10.0.0.1"):
    with pytest.raises(PairingError) as raised:
        codes.take(code, identity, address)
    return str(raised.value)


def test_once(codes):
    code = codes.new()
    assert codes.take(code, "b1", "10.0.0.1") == ""
    assert "used already" in refused(codes, code, "b2")


def test_a_name_that_was_chosen(codes):
    assert codes.take(codes.new("north"), "b1", "10.0.0.1") == "north"


def test_again_by_the_same_board_until_it_has_its_token(codes):
    """Power may go between the gateway's disk and the board's."""
    code = codes.new()
    codes.take(code, "b1", "10.0.0.1")
    codes.take(code, "b1", "10.0.0.1")
    codes.confirm("b1")
    assert "used already" in refused(codes, code, "b1")


def test_a_code_for_any_board_is_not_for_one_that_is_known(codes):
    """Who has a code must not come in under the id of another board."""
    codes.store.put_board("kiln", "b1", {})
    for code in (codes.new(), codes.new("north")):
        why = refused(codes, code)
        assert "paired already, as kiln" in why and "mcpgw pi code --name kiln" in why
    assert codes.locked_s("10.0.0.1") == 0  # it was not guessed
    # The code is still good for the board that it is for.
    assert codes.take(code, "b2", "10.0.0.2") == "north"
    assert codes.take(codes.new("kiln"), "b1", "10.0.0.1") == "kiln"
    codes.store.remove_board("kiln")
    assert codes.take(codes.new(), "b1", "10.0.0.1") == ""


def test_a_board_that_shows_its_code_again_is_known_by_then(codes):
    code = codes.new()
    codes.take(code, "b1", "10.0.0.1")
    codes.store.put_board("kiln", "b1", {})
    assert codes.take(code, "b1", "10.0.0.1") == ""
    assert "paired already" in refused(codes, codes.new())


def test_as_it_is_typed(codes):
    code = codes.new()
    assert codes.take(f" {code.lower().replace('-', ' - ')} ", "b1", "10.0.0.1") == ""


def test_expired(codes, clock):
    code = codes.new(ttl_s=60)
    clock.now += 61
    assert "has expired" in refused(codes, code)


def test_wrong_ones_void_no_code_and_cost_time(codes):
    """Whoever guesses, from however many addresses, is slowed; the code stays good."""
    code = codes.new()
    for i in range(50):
        assert "wrong pairing code" in refused(codes, "2222-2222", address=f"10.0.0.{i}")
    assert codes.rests == [WRONG_S] * 50
    assert codes.take(code, "b1", "10.0.1.1") == ""
    assert codes.rests == [WRONG_S] * 50


def test_what_guessing_comes_to():
    """The arithmetic of docs/pi-boards.md."""
    tries_per_s = 1 / WRONG_S
    all_codes = len(pairing._CHARS) ** pairing._LENGTH
    assert all_codes > 6.5e11
    assert tries_per_s * pairing.CODE_TTL_S / all_codes < 1e-8
    # All codes that may be open, for as long as `mcpgw pi code --minutes` lets them.
    assert tries_per_s * 3600 * pairing.MAX_CODES / all_codes < 1e-6


def test_an_address_that_guesses_is_locked_out(codes, clock):
    for _ in range(LOCK_AFTER):
        assert "wrong pairing code" in refused(codes, "2222-2222")
    code = codes.new()
    assert "too many wrong" in refused(codes, code)
    assert 0 < codes.locked_s("10.0.0.1") <= LOCK_S + 1
    assert codes.take(code, "b1", "10.0.0.2") == ""  # others are not
    clock.now += LOCK_S + 1
    assert codes.take(codes.new(), "b2", "10.0.0.1") == ""


def test_a_clock_that_jumps(codes, clock):
    code = codes.new()
    for _ in range(LOCK_AFTER):
        refused(codes, "2222-2222")
    clock.now -= 1_000_000
    assert codes.locked_s("10.0.0.1") == 0
    assert codes.take(code, "b1", "10.0.0.1") == ""


def test_codes_and_addresses_are_counted(codes, tmp_path, monkeypatch):
    monkeypatch.setattr(pairing, "_SCRYPT", {"n": 2, "r": 1, "p": 1, "dklen": 32})
    made = [codes.new() for _ in range(pairing.MAX_CODES + 5)]
    assert "wrong pairing code" in refused(codes, made[0])
    assert codes.take(made[-1], "b1", "10.0.0.9") == ""
    for i in range(pairing._MAX_ADDRESSES + 10):
        refused(codes, "x", address=f"a{i}")
    assert len(codes._wrong) == pairing._MAX_ADDRESSES


def test_nothing_kept_is_the_code(codes, tmp_path):
    code = codes.new()
    with sqlite3.connect(tmp_path / "pi.sqlite") as db:
        kept = repr(db.execute("SELECT * FROM codes").fetchall())
    assert code not in kept and code.replace("-", "") not in kept
