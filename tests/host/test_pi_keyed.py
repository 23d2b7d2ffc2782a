"""What boards forward is executed once: keyed calls, batches of them, and a gateway that dies in
the middle."""

import base64
import contextlib
import json
import random
import signal
import threading
import zlib

import httpx
import pytest
from http_process import META, modern
from http_process import Client as HttpClient
from mcpgw.bridge.keys import KeyStore
from pi_rig import Pi, SDKServer, listens, mcpgw, server_table
from soak import count
from waiting import PATIENCE_S, until


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("keyed")


@pytest.fixture(scope="module")
def running(folder):
    """The server that all tests share."""
    server = SDKServer(folder)
    yield server
    server.close()


@pytest.fixture(scope="module")
def pi(folder, running):
    pi = Pi(folder, server_table("office", url=running.url))
    yield pi.up("office")
    pi.close()


@pytest.fixture
def office(running):
    """The same with an empty ledger, whose tools wait."""
    running.forget()
    return running


def text(outcome):
    return outcome["result"]["content"][0]["text"]


def marks(office):
    return sorted(int(line.split()[1]) for line in office.ledger() if line.startswith("mark "))


def test_a_known_key_gets_the_recorded_outcome(pi, office):
    key = "0123456789abcdef-00000001"
    first = pi.call("office_add", {"a": 1, "b": 2}, key)
    again = pi.call("office_add", {"a": 1, "b": 2}, key)
    assert first == again and first["result"]["structuredContent"] == {"result": 3}
    assert office.ledger() == ["add 1 2"]
    pi.stop()
    pi.start()
    pi.up("office")
    assert pi.call("office_add", {"a": 1, "b": 2}, key) == first
    assert office.ledger() == ["add 1 2"]


def test_a_key_belongs_to_its_tool(pi):
    key = "0123456789abcdef-00000002"
    pi.call("office_add", {"a": 1, "b": 2}, key)
    error = pi.call("office_meta", {}, key)["error"]
    assert error["code"] == -32602 and "was used for the tool 'office_add'" in error["message"]


def test_the_server_is_told_the_key(pi):
    key = "0123456789abcdef-00000003"
    assert json.loads(text(pi.call("office_meta", {}, key)))["mcp-gw/key"] == key


@pytest.mark.parametrize("key", ["", "x" * 129, 7, None, {}])
def test_keys_that_are_none(pi, office, key):
    params = {"name": "office_add", "arguments": {"a": 1, "b": 2}}
    answer = pi.request("tools/call", params, "office_add", {"mcp-gw/key": key})
    assert answer["error"]["code"] == -32602, answer
    assert office.ledger() == []
    assert "result" in pi.call("office_add", {"a": 1, "b": 2})


def test_the_same_key_at_the_same_time_joins_the_call(pi, office):
    key = "0123456789abcdef-00000004"
    outcomes = []

    def call():
        outcomes.append(pi.call("office_held", {}, key))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: office.ledger().count("held"), pi.output)
    until(lambda: metric(pi, 'mcpgw_pi_keyed_calls_total{outcome="joined"}') >= 3, pi.output)
    office.release()
    for thread in threads:
        thread.join()
    assert [text(one) for one in outcomes] == ["done"] * 4
    assert office.ledger().count("held") == 1


def metric(pi, name):
    for line in httpx.get(pi.address + "/metrics").text.splitlines():
        if line.split(" ")[0] == name:
            return float(line.split(" ")[1])
    raise AssertionError(name)


def test_a_call_whose_board_is_gone_goes_on(pi, office):
    """A board that has waited too long closes its connection, and asks again later."""
    key = "0123456789abcdef-00000005"
    with pytest.raises(httpx.ReadTimeout):
        pi.call("office_held", {}, key, timeout=1)
    until(lambda: office.ledger().count("held"), pi.output)
    office.release()
    outcome = pi.call("office_held", {}, key)
    assert text(outcome) == "done"
    assert office.ledger() == ["held", "held done"]


def test_a_batch(pi, office):
    calls = [(f"batch-{i:08x}", "office_mark", {"number": i, "seconds": 0}) for i in range(32)]
    outcomes = pi.deliver(calls)
    assert {key: text(row) for key, row in outcomes.items()} == {
        key: f"marked {arguments['number']}" for key, _, arguments in calls
    }
    assert pi.deliver(calls) == outcomes
    assert marks(office) == list(range(32))
    # An outcome of a batch is that of the key, however it is asked for.
    assert text(pi.call(calls[3][1], calls[3][2], calls[3][0])) == "marked 3"


def test_a_compressed_batch(pi, office):
    calls = [
        {"key": f"deflate-{i:08x}", "params": {"name": "office_mark", "arguments": one}}
        for i, one in enumerate([{"number": i, "seconds": 0} for i in range(20)])
    ]
    for wbits in (-10, -15):
        pack = zlib.compressobj(9, zlib.DEFLATED, wbits)
        data = pack.compress(json.dumps(calls).encode()) + pack.flush()
        params = {"deflate": base64.b64encode(data).decode(), "max_bytes": 50_000}
        rows = pi.request("mcp-gw/deliver", params)["result"]["outcomes"]
        assert [row["key"] for row in rows] == [call["key"] for call in calls]
    assert marks(office) == list(range(20))


def test_a_batch_keeps_to_what_the_board_takes(pi, office):
    calls = [(f"long-{i:08x}", "office_text", {"size": 700}) for i in range(6)]
    got = {}
    for _ in range(6):
        rest = [call for call in calls if call[0] not in got]
        answer = pi.request(
            "mcp-gw/deliver",
            {
                "calls": [
                    {"key": key, "params": {"name": tool, "arguments": arguments}}
                    for key, tool, arguments in rest
                ],
                "max_bytes": 2500,
            },
        )
        assert len(json.dumps(answer["result"], separators=(",", ":"))) <= 2500
        for row in answer["result"]["outcomes"]:
            assert text(row) == "x" * 700
            got[row["key"]] = row
        if len(got) == 6:
            break
    assert len(got) == 6
    # One that is too long by itself is concluded all the same.
    (row,) = pi.deliver([("huge-00000000", "office_text", {"size": 5000})], 2000).values()
    assert "was executed" in text(row) and "more than this board takes" in text(row)


def test_a_server_has_a_time_of_its_own(tmp_path, office):
    pi = Pi(tmp_path, server_table("office", url=office.url, timeout_s=0.5))
    try:
        pi.up("office")
        error = pi.call("office_held")["error"]
        assert error["code"] == -32011 and "within 500 ms" in error["message"]
        until(lambda: "held cancelled" in office.ledger(), pi.output)
    finally:
        pi.close()


def test_what_fails_in_a_batch_harms_nothing_else(pi, office):
    outcomes = pi.deliver(
        [
            ("mixed-1", "office_fails", {}),
            ("mixed-2", "nothing_here", {}),
            ("mixed-3", "office_add", {"a": 1, "b": 1}),
            ("mixed-4", "office_add", {"a": "no number"}),
        ]
    )
    assert outcomes["mixed-1"]["result"]["isError"]
    assert outcomes["mixed-2"]["error"]["code"] == -32602
    assert outcomes["mixed-3"]["result"]["structuredContent"] == {"result": 2}
    assert outcomes["mixed-4"]["result"]["isError"]


BAD = [
    ({"max_bytes": 10_000}, '"calls" must be a list'),
    ({"calls": [], "max_bytes": 10_000}, "a batch has 1 to 32 calls"),
    ({"calls": [{"key": str(i), "params": {}} for i in range(33)]}, "a batch has 1 to 32 calls"),
    ({"calls": {}}, '"calls" must be a list'),
    ({"calls": [7]}, "each call has a key"),
    ({"calls": [{"params": {}}]}, "each call has a key"),
    ({"calls": [{"key": "", "params": {}}]}, "each call has a key"),
    ({"calls": [{"key": "x" * 129, "params": {}}]}, "each call has a key"),
    ({"calls": [{"key": "k"}]}, "each call has params"),
    ({"calls": [{"key": "k", "params": []}]}, "each call has params"),
    ({"calls": [{"key": "k", "params": {}}], "max_bytes": 511}, "max_bytes"),
    ({"calls": [{"key": "k", "params": {}}], "max_bytes": "1000"}, "max_bytes"),
    ({"calls": [{"key": "k", "params": {}}], "max_bytes": 10**4000}, "max_bytes"),
    ({"deflate": "%%%"}, "cannot be unpacked"),
    ({"deflate": 7}, "cannot be unpacked"),
    ({"deflate": "AAAA"}, "cannot be unpacked"),
]


@pytest.mark.parametrize(("params", "why"), BAD)
def test_bad_batches(pi, params, why):
    error = pi.request("mcp-gw/deliver", params)["error"]
    assert error["code"] == -32602 and why in error["message"], error
    assert pi.health()["status"] == "ok"


@pytest.mark.parametrize("size", [(1 << 20) + 1, 50 << 20])
def test_a_batch_that_unpacks_to_too_much(pi, size):
    """One byte over the cap, and a bomb."""
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = pack.compress(b"[" + b" " * (size - 2) + b"]") + pack.flush()
    params = {"deflate": base64.b64encode(data).decode()}
    error = pi.request("mcp-gw/deliver", params)["error"]
    assert "a batch may have 1048576 bytes" in error["message"]


def test_a_server_that_is_away_is_asked_later(tmp_path):
    """Nothing is concluded while a server cannot be reached, or was not there yet."""
    office = SDKServer(tmp_path)
    office.process.kill()
    office.process.wait()
    pi = Pi(tmp_path, server_table("office", url=office.url))
    try:
        call = "later-1", "office_add", {"a": 2, "b": 2}
        assert pi.deliver([call])["later-1"]["retry_ms"] > 0
        error = pi.call(call[1], call[2], call[0])["error"]
        assert error["code"] == -32010 and "office is not reachable" in error["message"]
        office.start()
        pi.up("office")
        assert pi.deliver([call])["later-1"]["result"]["structuredContent"] == {"result": 4}
        office.process.kill()
        office.process.wait()
        assert pi.deliver([("later-2", *call[1:])])["later-2"]["retry_ms"] > 0
        office.start()
        outcome = {}

        def delivered():
            outcome.update(pi.deliver([("later-2", *call[1:])])["later-2"])
            return "result" in outcome

        until(delivered, pi.output)
        assert office.ledger() == ["add 2 2"] * 2
    finally:
        pi.close()
        office.close()


def test_a_busy_server_puts_off_its_own_calls_only(tmp_path, office):
    other = SDKServer(tmp_path, name="other")
    config = server_table("office", url=office.url, calls=2)
    config += server_table("other", url=other.url)
    pi = Pi(tmp_path, config, pi="wait_s = 2")
    try:
        pi.up("office", "other")
        outcomes = pi.deliver([(f"busy-{i}", "office_held", {}) for i in range(6)])
        assert all("retry_ms" in row for row in outcomes.values())
        until(lambda: office.ledger().count("held") == 2, pi.output)
        more = pi.deliver([(f"free-{i}", "other_add", {"a": i, "b": 1}) for i in range(6)])
        assert all("result" in row for row in more.values()), more
        assert office.ledger().count("held") == 2  # no more than it is to have at once
        office.release()
        done = {}

        def all_done():
            rest = [(f"busy-{i}", "office_held", {}) for i in range(6) if f"busy-{i}" not in done]
            got = pi.deliver(rest) if rest else {}
            done.update({key: row for key, row in got.items() if "result" in row})
            return len(done) == 6

        until(all_done, pi.output)
        assert office.ledger().count("held") == 6
    finally:
        pi.close()
        other.close()


def test_killed_in_mid_batch_nothing_is_lost_and_nothing_done_twice(tmp_path, office, seed):
    """SIGKILL at random moments while several boards deliver. Each keeps a call until it has an
    outcome, as a board's queue does."""
    pi = Pi(tmp_path, server_table("office", url=office.url))
    dice = random.Random(seed)
    boards, each = 3, count(12, 200)
    outcomes = {}
    try:
        pi.up("office")

        def board(number):
            calls = [
                (f"{number:04x}-{i:08x}", "office_mark",
                 {"number": number * 1000 + i, "seconds": 0.02})
                for i in range(each)
            ]  # fmt: skip
            while rest := [call for call in calls if call[0] not in outcomes]:
                try:
                    got = pi.deliver(rest[:8])
                except Exception:
                    continue  # it was killed: once more
                outcomes.update({key: row for key, row in got.items() if "retry_ms" not in row})

        threads = [threading.Thread(target=board, args=(n,)) for n in range(boards)]
        for thread in threads:
            thread.start()
        kills = 0
        while any(thread.is_alive() for thread in threads):
            if kills < count(2, 40):
                seen = len(office.ledger())
                goal = seen + dice.randrange(1, 16)
                until(
                    lambda goal=goal: (
                        len(office.ledger()) >= goal
                        or not any(thread.is_alive() for thread in threads)
                    )
                )
                pi.kill()
                pi.start()
                kills += 1
            else:
                for thread in threads:
                    thread.join()
        executed = marks(office)
        assert len(executed) == len(set(executed)), "executed twice"
        assert len(outcomes) == boards * each
        for key, row in outcomes.items():
            number = int(key[:4], 16) * 1000 + int(key[5:], 16)
            if "marked" in text(row):
                assert number in executed
            else:  # it was on its way when the gateway died: nobody can know, and it is said
                assert "may or may not have been executed" in text(row)
        unknown = sum("may or may not" in text(row) for row in outcomes.values())
        assert unknown <= kills * 24
    finally:
        pi.close()


def test_an_idempotent_call_whose_outcome_is_unknown_is_repeated(pi, office):
    call = "again-1", "office_held_level", {"level": 3}
    thread = threading.Thread(target=lambda: _ignore(lambda: pi.deliver([call])))
    thread.start()
    until(lambda: "held_level 3" in office.ledger(), pi.output)
    pi.kill()
    thread.join()
    pi.start()
    pi.up("office")
    office.release()
    outcome = {}

    def delivered():
        outcome.update(pi.deliver([call])["again-1"])
        return "result" in outcome

    until(delivered, pi.output)
    assert text(outcome) == "level 3"


def _ignore(call):
    with contextlib.suppress(Exception):  # it was killed
        call()


def test_a_board_sees_servers_and_is_told_apart(pi):
    token = mcpgw("pi", "token", "add", "greenhouse", "--board", "--config", pi.config).strip()
    until(lambda: "result" in pi.request("tools/list", token=token))
    names = {tool["name"] for tool in pi.request("tools/list", token=token)["result"]["tools"]}
    assert "office_add" in names


def test_a_board_whose_share_is_used_up(tmp_path, office):
    """Its new calls are put off, and those of others go on."""
    (tmp_path / "state").mkdir()
    keys = KeyStore(tmp_path / "state" / "pi.sqlite")
    keys.begin("pi", "k1", "office_add", "kiln")
    keys.finish("pi", "k1", True, b'{"content":[],"text":"%s"}' % (b"x" * (1 << 20)))
    keys.close()
    pi = Pi(tmp_path, server_table("office", url=office.url), pi="outcomes_mb = 1")
    try:
        pi.up("office")
        tokens = {}
        for name in ("kiln", "shed"):
            add = "pi", "token", "add", name, "--board", "--config", pi.config
            tokens[name] = mcpgw(*add).strip()
            until(lambda name=name: "result" in pi.request("tools/list", token=tokens[name]))
        numbers = {"a": 1, "b": 2}
        error = pi.call("office_add", numbers, "k2", token=tokens["kiln"])["error"]
        told = "1 MB of outcomes are kept for kiln, the most for one"
        assert error["code"] == -32010 and told in error["message"], error
        assert error["data"]["retry_ms"] >= 60_000
        batch = [("k2", "office_add", numbers), ("k1", "office_add", numbers)]
        found = pi.deliver(batch, 3 << 20, token=tokens["kiln"])
        assert found["k2"]["retry_ms"] >= 60_000 and "result" in found["k1"]
        assert told in pi.output() and office.ledger() == []
        # The others, and calls without a key.
        assert "result" in pi.call("office_add", numbers, "k3", token=tokens["shed"])
        assert "result" in pi.call("office_add", numbers, token=tokens["kiln"])
    finally:
        pi.close()


def test_answers_that_are_due_come_before_the_end(pi, office):
    """SIGTERM with a call under way and a stream open."""
    answers = []
    with HttpClient(pi.port) as stream:
        params = {"_meta": META, "notifications": {"toolsListChanged": True}}
        stream.send(modern("subscriptions/listen", params))
        assert stream.head()[0] == 200
        thread = threading.Thread(target=lambda: answers.append(pi.call("office_held")))
        thread.start()
        until(lambda: "held" in office.ledger(), pi.output)
        pi.process.send_signal(signal.SIGTERM)
        until(lambda: not listens(pi.port), pi.output)
        office.release()
        thread.join()
        assert text(answers[0]) == "done"
        assert pi.process.wait(PATIENCE_S) == 0
        while stream.chunk():
            pass
    pi.start()
    pi.up("office")
