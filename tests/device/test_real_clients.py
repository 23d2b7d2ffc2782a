"""Client programs that others wrote drive the gateway, over stdio and HTTP, in both eras: each
lists, calls with progress, reads, gets a prompt, has words completed, cancels a call, and answers
forms.

The programs of tests/clients/ make a report of what their client got. They use the official Python
SDK, the TypeScript SDKs of both lines (the first is legacy only), and the Inspector. Of the
Inspector's two command lines, `inspector --cli` knows no completion, offers servers no elicitation
(inspector.py checks that both are still so) and can only be killed in the middle of a call, which
in 2026-07-28 over HTTP cancels it; `mcpdo` of the same package does all three. Neither shows the
progress that it is sent. The emulated Pico is driven through the bridge.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import nodejs
import pytest
import rig
import targets
from http_process import HttpProcess
from http_tap import HTTPTap
from waiting import PATIENCE_S
from wire_record import LOGS

CLIENTS = Path(__file__).parents[1] / "clients"
APP = rig.APPS / "clients_app.py"
PROGRAMS = {
    "python_sdk": ["legacy", "auto"],
    "typescript_v1": ["legacy"],
    "typescript_v2": ["legacy", "auto", "modern"],
    "inspector": ["legacy", "modern"],
}
ON_BOARDS = ["python_sdk", "typescript_v2"]
REVISION = {"legacy": rig.LEGACY, "auto": rig.MODERN, "modern": rig.MODERN}
FIELDS = ["litres", "where"]
EXPECTED = {
    "server": "orchard 1.0: Ask before you pick.",
    "tools": ["add", "dig", "digs", "go_on", "prune", "water"],
    "resources": ["orchard://sorts"],
    "templates": ["orchard://tree/{sort}"],
    "prompts": ["letter"],
    "sum": {"sum": 42},
    "progress": [[1, 3, "row 1"], [2, 3, "row 2"], [3, 3, "row 3"]],
    "called": "3 rows pruned and reported",
    "read": "apple, apricot, pear, plum",
    "tree": {"sort": "plum", "age": 4},
    "prompt": [["user", "Please tell me how to care for my fig."]],
    "completion": [["apple", "apricot"], ["pear", "plum"]],
    # How the call ended for the client, and what the server says of that work.
    "cancelled": ["given up", "stopped"],
    "accepted": "apple gets 7 l at the leaf",
    "declined": "pear left dry: decline",
    "asked": [["Water the apple?", FIELDS], ["Water the pear?", FIELDS]],
}


def pairs(programs):
    return [(program, era) for program in programs for era in PROGRAMS[program]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("clients")


@pytest.fixture(scope="module")
def server(folder):
    """The gateway over HTTP."""
    with HttpProcess(folder, targets.firmware("unix"), APP) as process:
        yield process


def stdio(command, errors):
    """The command of a stdio server, recorded, its standard error in a file. Clients start it in
    an environment of their own making, so it says what it needs."""
    needs = rig.environment()
    needs = {name: needs[name] for name in ("PYTHONPATH", "MICROPYPATH")} | LOGS.environment
    variables = [f"{name}={value}" for name, value in needs.items()]
    keep_errors = ["sh", "-c", 'exec "$@" 2>>"$0"', errors]
    return ["env", *variables, *keep_errors, *LOGS.command(command)]


def report(program, era, folder, errors, target):
    """What a program got."""
    node, modules = nodejs.node(), nodejs.modules()
    if program.startswith("typescript"):
        command = [node, CLIENTS / f"{program}.mjs", modules]
    else:
        command = [sys.executable, CLIENTS / f"{program}.py"]
        command += [node, modules] if program == "inspector" else []
    environment = rig.environment() | {
        "SERVER_ERRORS": str(errors),
        "NODE_COMPILE_CACHE": str(folder / "node"),
    }
    done = subprocess.run(
        [*map(str, command), era, f"{program}-{era}", *map(str, target)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment,
        timeout=3 * PATIENCE_S,
        text=True,
    )
    said = errors.read_text() if errors.exists() else ""
    assert done.returncode == 0, done.stdout + done.stderr + said
    # What a board at its prompt says to the bridge that wakes it comes before it serves.
    assert "Traceback" not in said.rpartition(" serves (boot")[2], said
    return json.loads(done.stdout)


def expected(program, era):
    unseen = ["progress"] if program == "inspector" else []
    report = {name: value for name, value in EXPECTED.items() if name not in unseen}
    return report | {"revision": REVISION[era]}


@pytest.mark.parametrize(("program", "era"), pairs(PROGRAMS))
def test_over_stdio(program, era, folder, tmp_path):
    errors = tmp_path / "errors"
    recorded = len(os.listdir(LOGS.environment["MCPGW_WIRE_LOGS"]))
    command = stdio([targets.firmware("unix"), APP], errors)
    assert report(program, era, folder, errors, command) == expected(program, era)
    assert len(os.listdir(LOGS.environment["MCPGW_WIRE_LOGS"])) > recorded


@pytest.mark.parametrize(("program", "era"), pairs(PROGRAMS))
def test_over_http(program, era, folder, server):
    with HTTPTap(server.url) as tap:
        assert report(program, era, folder, server.errors, [tap.url]) == expected(program, era)


@pytest.fixture(scope="module")
def asgi(folder):
    """The same gateway under CPython, served as `mcpgw pi` does."""
    with HttpProcess(folder, sys.executable, CLIENTS.parent / "asgi_server.py", APP) as process:
        yield process


@pytest.mark.parametrize(
    ("program", "era"), pairs(["python_sdk", "typescript_v1", "typescript_v2"])
)
def test_over_asgi(program, era, folder, asgi):
    with HTTPTap(asgi.url) as tap:
        assert report(program, era, folder, asgi.errors, [tap.url]) == expected(program, era)


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A Pico that serves the app."""
    target = targets.make_target("pico", tmp_path_factory.mktemp("pico"))
    rig.put(target, APP)
    yield target
    target.close()


@pytest.mark.parametrize(("program", "era"), pairs(ON_BOARDS))
def test_on_the_pico(program, era, folder, board, tmp_path):
    errors = tmp_path / "errors"
    command = stdio(rig.bridge(board.sim, folder), errors)
    assert report(program, era, folder, errors, command) == expected(program, era)
