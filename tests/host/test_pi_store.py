"""The paired gateway's database: kills at random moments, a full disk, damage, locks."""

import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mcpgw import UserError
from mcpgw.bridge.keys import DONE, LOST, KeyStore
from mcpgw.pi.service import bound
from mcpgw.pi.store import BOARD, CLIENT, ServiceLock, Store, StoreError, digest
from pi_rig import environment, mcpgw
from soak import count
from waiting import PATIENCE_S

HERE = Path(__file__).parent


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "pi.sqlite"


def test_it_survives_kills_at_random_moments(path, seed):
    """What was said to be durable is there, and nothing was begun that a restart does not know."""
    dice = random.Random(seed)
    began, done, tokens = set(), set(), {}
    for round in range(count(15, 200)):
        worker = subprocess.Popen(
            [sys.executable, str(HERE / "pi_store_worker.py"), str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        lines = worker.stdout
        assert lines.readline() == b"ready\n", worker.stderr.read()
        # Not at a moment that its own words mark, so that every place in a write is met.
        time.sleep(dice.random() * 0.06)
        worker.send_signal(signal.SIGKILL)
        for line in lines.read().decode().splitlines():
            words = line.split()
            if words[0] == "began" and len(words) == 2:
                began.add(words[1])
            elif words[0] == "done" and len(words) == 2:
                done.add(words[1])
            elif words[0] == "token" and len(words) == 3 and len(words[2]) == 64:
                tokens[words[1]] = words[2]
        assert worker.wait() == -signal.SIGKILL, worker.stderr.read()
        worker.stdout.close()
        worker.stderr.close()
        if round % 10 == 9:
            check(path, began, done, tokens)
    check(path, began, done, tokens)
    assert done and tokens


def check(path, began, done, tokens):
    store = Store(path)  # reads all of it to see whether it is damaged
    kept = {row[0]: row[2].hex() for row in store.tokens()}
    assert tokens.items() <= kept.items()
    store.close()
    keys = KeyStore(path)
    keys.alone()
    for key in began | done:
        state, ok, raw = keys.begin("pi", key, "tool")
        if key in done:
            assert (state, ok, raw) == (DONE, True, b'{"n":"%s"}' % key.encode())
        else:  # what was begun is never taken for new: it could be executed twice
            assert state in (DONE, LOST), (key, state)
    keys.close()


def test_tokens(path):
    store = Store(path)
    token = store.add_token("greenhouse", BOARD)
    with pytest.raises(StoreError, match="has a token already"):
        store.add_token("greenhouse", CLIENT)
    assert [row[:3] for row in store.tokens()] == [("greenhouse", BOARD, digest(token))]
    assert token.encode() not in path.read_bytes()
    other = store.add_token("greenhouse", CLIENT, replace=True)
    assert [row[:3] for row in store.tokens()] == [("greenhouse", CLIENT, digest(other))]
    assert store.remove_token("greenhouse") and not store.remove_token("greenhouse")
    assert os.stat(path).st_mode & 0o777 == 0o600
    store.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_service(path):
    path.parent.mkdir()
    os.chown(path.parent, 1234, 1234)
    store = Store(path)
    store.add_token("greenhouse", BOARD)
    for file in path.parent.iterdir():
        assert file.stat().st_uid == 1234, file
    store.close()


def test_another_process_is_noticed(path):
    store, other = Store(path), Store(path)
    store.changed()
    assert not store.changed()
    other.add_token("greenhouse", BOARD)
    assert store.changed() and not store.changed()
    other.close()
    store.close()


def test_boards_and_identity(path):
    store = Store(path)
    store.put_board("greenhouse", "id", {"kind": "serial"})
    store.add_token("greenhouse", BOARD)
    assert store.note_board("greenhouse", "id2", {"kind": "dial"})
    identity = store.identity
    store.close()
    store = Store(path)
    assert [row[:3] for row in store.boards()] == [("greenhouse", "id2", {"kind": "dial"})]
    assert store.identity == identity and len(identity) == 16
    assert store.remove_board("greenhouse") and not store.remove_board("greenhouse")
    # A service that is about to write down how it is does not bring it back.
    assert not store.note_board("greenhouse", "id2", {"kind": "dial"})
    assert store.boards() == [] and store.tokens() == []
    store.close()


@pytest.mark.parametrize("damage", ["head", "middle", "nothing of it"])
def test_a_damaged_file(path, tmp_path, damage):
    store = Store(path)
    for i in range(200):
        store.put_board(f"board{i}", "x" * 200, {"i": i})
    store.close()
    data = bytearray(path.read_bytes())
    if damage == "head":
        data[:100] = b"\xff" * 100
    elif damage == "middle":
        data[4096 : 4096 * 4] = os.urandom(4096 * 3)
    else:
        data = b"something else\n" * 100
    path.write_bytes(data)
    with pytest.raises(StoreError, match="is damaged .* move it away"):
        Store(path)
    assert path.read_bytes() == data  # for whoever wants to look at it


def test_a_file_of_another_version(path):
    Store(path).close()
    db = sqlite3.connect(path)
    db.execute("UPDATE about SET value='99' WHERE name='version'")
    db.commit()
    db.close()
    with pytest.raises(StoreError, match="another version"):
        Store(path)


def test_a_locked_file(path, monkeypatch):
    store = Store(path)
    store._db.execute("PRAGMA busy_timeout=10")
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="locked by another program"):
        store.add_token("greenhouse", BOARD)
    db.execute("ROLLBACK")
    db.close()
    store.add_token("greenhouse", BOARD)
    store.close()


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="state"):
        Store(tmp_path / "file" / "state" / "pi.sqlite")
    with pytest.raises(StoreError, match="null"):
        ServiceLock(tmp_path / "a\0b" / "pi.sqlite")


@pytest.mark.parametrize("host", ["a..b", "a" * 300, "\udcff", "\0"])
def test_a_host_that_is_none(host):
    with pytest.raises(UserError, match="is no address of this machine"):
        bound(host, 0)


def test_one_service_at_a_time(path):
    lock = ServiceLock(path)
    code = "import sys; from mcpgw.pi.store import ServiceLock; ServiceLock(sys.argv[1])"
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert f"another mcpgw pi (process {os.getpid()})" in done.stderr
    lock.close()
    assert subprocess.run(command, env=environment()).returncode == 0


def test_a_full_disk_loses_nothing(path):
    """A limit on how long files may get stands for it: SQLite gets the same errors."""
    code = """
import asyncio, sys
from mcp_gw.errors import Unavailable
from mcpgw.bridge.calls import Calls
from mcpgw.bridge.keys import KeyStore
from mcpgw.bridge.log import Log
from mcpgw.pi.store import BOARD, Store, StoreError

async def main():
    store = Store(sys.argv[1])
    calls = Calls(KeyStore(sys.argv[1]), Log(sys.stderr))
    sent = set()

    async def deliver(i):
        async def send(report):
            sent.add(i)
            return True, b'{"text":"%s"}' % (b"x" * 5000)
        try:
            await calls.run("pi", f"key-{i}", "tool", send, None)
        except Unavailable as e:
            assert i not in sent, "it was executed, and the board will send it again"
            return str(e)

    i = 0
    refused = None
    while refused is None and i < 1000:
        i += 1
        refused = await deliver(i)
    assert "cannot record" in refused, refused
    assert not calls.healthy and calls.failures
    try:
        while True:
            store.add_token(f"b{i}", BOARD)
            i += 1
    except StoreError as e:
        print(e)
    await calls.close()
    print("sent", *sorted(sent))

asyncio.run(main())
"""

    def small():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        env=environment(),
        preexec_fn=small,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert "the disk may be full" in said[0], said
    keys = KeyStore(path)
    keys.alone()
    for number in said[1].split()[1:]:
        # Executed: the outcome is there, or it is known that it is not.
        assert keys.begin("pi", f"key-{number}", "tool")[0] in (DONE, LOST)
    keys.close()


def test_tokens_on_the_command_line(tmp_path):
    config = tmp_path / "mcp-edge.toml"
    said = mcpgw("pi", "init", "--config", config, XDG_STATE_HOME=str(tmp_path / "s"))
    assert f"wrote {config}" in said and "token of client" in said
    usual = mcpgw("pi", "init", XDG_CONFIG_HOME=str(tmp_path), XDG_STATE_HOME=str(tmp_path / "s"))
    assert f"wrote {tmp_path / 'mcpgw' / 'mcp-edge.toml'}" in usual
    assert "client keeps the token that it has" in usual
    again = mcpgw("pi", "init", "--config", config, check=False)
    assert again.returncode == 1 and "is there already" in again.stderr

    def run(*arguments, **more):
        return mcpgw("pi", *arguments, "-c", config, XDG_STATE_HOME=str(tmp_path / "s"), **more)

    token = run("token", "add", "greenhouse", "--board").strip()
    assert token.startswith("mgw_") and len(token) > 40
    listed = run("token", "list").splitlines()
    assert [line.split()[:2] for line in listed] == [["client", "client"], ["greenhouse", "board"]]
    assert "has a token already" in run("token", "add", "greenhouse", check=False).stderr
    assert run("token", "add", "greenhouse", "--replace").strip() != token
    run("token", "remove", "greenhouse")
    assert "has no token" in run("token", "remove", "greenhouse", check=False).stderr
    assert "letters" in run("token", "add", "a b", check=False).stderr
    status = run("status", check=False)
    assert status.returncode == 1 and "it does not run" in status.stdout


def test_help():
    for command in ([], ["init"], ["token"], ["token", "add"], ["unit"], ["status"]):
        said = mcpgw("pi", *command, "--help")
        assert "Usage: mcpgw pi" in said and len(said.splitlines()) > 5
