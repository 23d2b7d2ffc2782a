"""The two command lines of the Inspector: `inspector.py NODE MODULES ERA WHO URL|COMMAND ...`, ERA
legacy or modern, WHO a name that no other client of the server has. Prints what they got as one
JSON object; see EXPECTED in tests/device/test_real_clients.py.

`inspector --cli` connects anew for each command; it can list, call, read and get prompts. Of what
it cannot do it says so itself (checked here, over stdio): it knows no completion, and it does not
offer elicitation to servers. `mcpdo` of the same package keeps a connection open in a daemon, and
does both; interrupting one of its commands on a terminal cancels the request. Both can ask for
progress and neither shows any: that it was asked for, the tool `prune` tells.

The environment's SERVER_ERRORS is the file with the server's standard error: `dig` tells there
that it has begun.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PATIENCE_S = 120


class CommandError(Exception):
    """The exit code was not 0."""


class Inspector:
    """Runs both programs against one target. folder: where they may keep things."""

    def __init__(self, node, modules, era, target, folder):
        package = Path(modules) / "@modelcontextprotocol" / "inspector" / "clients"
        self._cli = [node, package / "launcher/build/index.js", "--cli", "--format", "json", "-q"]
        self._cli += ["--protocol-era", era]
        self._mcpdo = [node, package / "mcpdo/build/mcp-bin.js", "--format", "json"]
        self._era = era
        self._target = target
        self.at_http = target[0].startswith("http")
        # Homes of their own, so that no user's settings are read and no user's daemon is used.
        self._environment = os.environ | {
            "HOME": folder,
            "MCP_STORAGE_DIR": folder,
            "MCP_INSPECTOR_DAEMON_DIR": folder,
            "MCP_INSPECTOR_SECRET_STORE": "file",
        }

    def _run(self, command):
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=self._environment,
            timeout=PATIENCE_S,
            text=True,
        )
        if done.returncode:
            raise CommandError(f"{command}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def cli(self, method, *options):
        """The result of one command of `inspector --cli`."""
        if self.at_http:
            where = ["--transport", "http", "--server-url", *self._target]
        else:
            where = self._target
        return json.loads(self._run([*self._cli, *where, "--method", method, *options]))["result"]

    def refused(self, method, *options):
        """What a command of `inspector --cli` that fails says."""
        try:
            raise AssertionError(f"not refused: {self.cli(method, *options)}")
        except CommandError as error:
            return str(error)

    def connect(self):
        where = self._target if self.at_http else ["--", *self._target]
        self._run([*self._mcpdo, "--connection", "it", "connect", "--era", self._era, *where])

    def disconnect(self):
        self._run([*self._mcpdo, "daemon", "stop"])

    def mcpdo(self, *command):
        """The result of one command of `mcpdo` on the connection."""
        return json.loads(self._run([*self._mcpdo, "@it", *command]))

    def tool(self, name, *arguments):
        """The result of a call by mcpdo: structured content, or text."""
        return content(self.mcpdo("tools/call", name, *arguments))

    def answer(self, call, *answer):
        """Answer the question with which a call paused; returns the call's result."""
        id = call["elicitationPending"]["elicitationId"]
        done = self._run([*self._mcpdo, "elicitation/respond", id, *answer])
        return content(json.loads(done))

    def _interrupt(self, command, who, stdin):
        """Begin a call of `dig` and interrupt the command once it works; what it then says."""
        dug = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self._environment,
        )
        errors = Path(os.environ["SERVER_ERRORS"])
        end = time.monotonic() + PATIENCE_S
        while f"digging {who}\n" not in errors.read_text():
            assert dug.poll() is None and time.monotonic() < end, "nobody digs"
            time.sleep(0.02)
        dug.send_signal(signal.SIGINT)
        return dug.communicate(timeout=PATIENCE_S)[1].decode()

    def _stopped(self, who):
        """What the server says of this very work, once it was cancelled."""
        end = time.monotonic() + PATIENCE_S
        while who not in (found := self.tool("digs"))["stopped"]:
            assert time.monotonic() < end, found
        return "digs" if who in found["digging"] else "stopped"

    def cancel(self, who):
        """Begin a call that never ends and interrupt it once it works: how that ended here, and
        whether the server says that this very work was stopped."""
        command = [*self._mcpdo, "@it", "tools/call", "dig", f"name:={who}"]
        command[command.index("json")] = "text"
        # Away from a terminal the daemon goes on with what nobody waits for.
        terminal, stdin = os.openpty()
        said = self._interrupt(command, who, stdin)
        os.close(terminal)
        os.close(stdin)
        return ["given up" if "'rpc' cancelled" in said else said, self._stopped(who)]

    def kill(self, who):
        """The same with `inspector --cli`, which just goes away."""
        command = [*self._cli, "--transport", "http", "--server-url", *self._target]
        command += ["--method", "tools/call", "--tool-name", "dig", "--tool-arg", f"name={who}"]
        self._interrupt(command, who, subprocess.DEVNULL)
        return self._stopped(who)


def content(result):
    return result.get("structuredContent") or result["content"][0]["text"]


def lists_and_reads(inspector):
    """What `inspector --cli` can do."""
    rows = ("--tool-arg", "rows=3", "--tool-metadata", "progressToken=rows")
    fig = ("--prompt-args", "sort=fig")
    got = {
        "initialize": inspector.cli("initialize"),
        "tools": inspector.cli("tools/list"),
        "resources": inspector.cli("resources/list"),
        "templates": inspector.cli("resources/templates/list"),
        "prompts": inspector.cli("prompts/list"),
        "called": inspector.cli("tools/call", "--tool-name", "prune", *rows),
        "read": inspector.cli("resources/read", "--uri", "orchard://sorts"),
        "prompt": inspector.cli("prompts/get", "--prompt-name", "letter", *fig),
    }
    info = got["initialize"]["serverInfo"]
    server = f"{info['name']} {info['version']}: {got['initialize']['instructions']}"
    return {
        "revision": got["initialize"]["protocolVersion"],
        "server": server,
        "tools": sorted(tool["name"] for tool in got["tools"]["tools"]),
        "resources": [one["uri"] for one in got["resources"]["resources"]],
        "templates": [one["uriTemplate"] for one in got["templates"]["resourceTemplates"]],
        "prompts": [one["name"] for one in got["prompts"]["prompts"]],
        "called": content(got["called"]),
        "read": got["read"]["contents"][0]["text"],
        "prompt": [[one["role"], one["content"]["text"]] for one in got["prompt"]["messages"]],
    }


def limits(inspector):
    """Check that `inspector --cli` still cannot do what mcpdo is here for."""
    said = inspector.refused("prompts/complete")
    assert "Unsupported method: prompts/complete" in said, said
    said = inspector.refused("tools/call", "--tool-name", "water", "--tool-arg", "sort=plum")
    reasons = "'water' returned isError", "missing required client capability"
    assert any(reason in said for reason in reasons), said


def all_the_rest(inspector, who):
    """What needs a connection that stays."""

    def complete(kind, ref, value):
        options = {"ref-type": f"ref/{kind}", "ref": ref, "arg-name": "sort", "arg-value": value}
        words = [word for key, value in options.items() for word in (f"--complete-{key}", value)]
        return inspector.mcpdo("prompts/complete", *words)["values"]

    tree = inspector.mcpdo("resources/read", "orchard://tree/plum")["contents"][0]["text"]
    report = {
        "sum": inspector.tool("add", "a:=41"),
        "tree": json.loads(tree),
        "completion": [
            complete("prompt", "letter", "ap"),
            complete("resource", "orchard://tree/{sort}", "p"),
        ],
        "cancelled": inspector.cancel(who),
        "asked": [],
    }
    answers = {
        "accepted": ("apple", "litres:=7", "where:=leaf"),
        "declined": ("pear", "--decline"),
    }
    for name, (sort, *answer) in answers.items():
        call = inspector.mcpdo("tools/call", "water", f"sort:={sort}")
        question = call["elicitationPending"]
        fields = sorted(question["requestedSchema"]["properties"])
        report["asked"].append([question["message"], fields])
        report[name] = inspector.answer(call, *answer)
    return report


def main(node, modules, era, who, *target):
    # Both command lines at once: most of their time is starting up.
    with (
        tempfile.TemporaryDirectory(prefix="mcpdo-") as folder,
        ThreadPoolExecutor(1) as aside,
    ):
        inspector = Inspector(node, modules, era, list(target), folder)
        begun = aside.submit(lists_and_reads, inspector)
        try:
            inspector.connect()
            report = all_the_rest(inspector, who)
            if inspector.at_http and era == "modern":
                assert inspector.kill(f"{who}-killed") == "stopped"
        finally:
            inspector.disconnect()
        if not inspector.at_http:
            limits(inspector)
        report |= begun.result()
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
