"""Runs the official conformance suites and reads what they found."""

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import nodejs

STABLE = "@modelcontextprotocol/conformance"
ALPHA = "conformance-alpha"  # the same package, a later version
TIMEOUT_S = 1200


class Suite:
    """One run of a suite. name: for people; package: in node_modules; arguments: what to run."""

    def __init__(self, name, package, *arguments):
        self.name = name
        self.package = package
        self.arguments = arguments


SUITES = [
    Suite("0.1.16 active", STABLE, "--suite", "active"),
    Suite("0.1.16 pending", STABLE, "--suite", "pending"),
    Suite("0.2.0-alpha.12 for 2025-11-25", ALPHA, "--requirements", "2025-11-25"),
    Suite("0.2.0-alpha.12 for 2026-07-28", ALPHA, "--requirements", "2026-07-28"),
]


class Outcome:
    """What a suite found. scenarios: name -> list of checks (dicts with name, status, ...);
    log: what the suite printed."""

    def __init__(self, suite, scenarios, log):
        self.suite = suite
        self.scenarios = scenarios
        self.log = log

    @property
    def passes(self):
        """Every check that passed, as "SCENARIO: ID"; one that passed twice occurs twice."""
        return sorted(f"{scenario}: {check['id']}" for scenario, check in self._checks("SUCCESS"))

    def _checks(self, *statuses):
        for scenario, checks in sorted(self.scenarios.items()):
            for check in checks:
                if check["status"] in statuses:
                    yield scenario, check

    @property
    def failures(self):
        """One text for each thing that is not as it should be: failed checks, warnings (what the
        specification only recommends) and scenarios without a result."""
        found = []
        for scenario, check in self._checks("FAILURE", "WARNING"):
            reason = check.get("errorMessage") or check.get("description", "")
            found.append(f"{scenario}: {check['name']} ({check['id']}): {reason[:2000]}")
        due = re.search(r"\((\d+) scenarios\)", self.log)
        if not due or len(self.scenarios) != int(due.group(1)):
            begun = re.findall(r"^=== Running scenario: (\S+) ===$", self.log, re.MULTILINE)
            lost = ", ".join(name for name in begun if name not in self.scenarios)
            found.append(f"no result of {lost or 'some scenarios'}:\n{self.log[-2000:]}")
        return found

    @property
    def skipped(self):
        """What the suite itself did not try, and why."""
        return [
            f"{scenario}: {check['name']}: {check.get('errorMessage') or _message(check)}"
            for scenario, check in self._checks("SKIPPED")
        ]

    def report(self):
        """The outcome for people."""
        failures = self.failures
        lines = [
            f"{self.suite.name}: {len(self.scenarios)} scenarios, "
            f"{len(self.passes)} checks passed, {len(failures)} failed"
        ]
        lines += [f"  skipped by the suite: {text}" for text in self.skipped]
        lines += [f"  FAILED {text}" for text in failures]
        return "\n".join(lines)


def _message(check):
    details = check.get("details") or {}
    return details.get("message") or details.get("note") or "no reason given"


def run(suite, url):
    """Run a suite against the server at `url`. Returns the Outcome."""
    program = nodejs.modules() / suite.package / "dist" / "index.js"
    folder = Path(tempfile.mkdtemp(prefix="conformance-"))
    try:
        command = [nodejs.node(), program, "server", "--url", url, *suite.arguments, "-o", folder]
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
        )
        return Outcome(suite, _results(folder), done.stdout)
    finally:
        shutil.rmtree(folder)


def _results(folder):
    """Scenario -> checks, from the folders server-SCENARIO-TIME that a suite leaves."""
    scenarios = {}
    for path in folder.glob("server-*/checks.json"):
        name = re.match(r"server-(.*)-\d{4}-\d\d-\d\dT", path.parent.name).group(1)
        scenarios[name] = json.loads(path.read_text())
    return scenarios
