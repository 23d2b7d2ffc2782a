"""Records both directions of a conversation and judges every message of the server in it.

    recorder = Recorder()
    recorder.sent(data)         # bytes of the client's, as they go
    recorder.received(data)     # bytes of the server's, as they come
    recorder.check()            # AssertionError if the server sent anything that its revision's
                                # schema does not allow

Every Recorder is also checked by itself at the end of each test (see conftest.py).
"""

import json
import os
import sys
import tempfile
import threading
import weakref
from collections import deque
from pathlib import Path

import wire_schema
from wire_schema import LATEST_LEGACY, MODERN, REVISIONS

META = "io.modelcontextprotocol/"
TAP = Path(__file__).with_name("stdio_tap.py")
TASKS = "io.modelcontextprotocol/tasks"
# NO_ID_EXCEPTION: an answer to what has no id that could be read. JSON-RPC wants an id of null
# there; the schemas know no null, the later ones allow none at all, the earlier ones nothing. Null
# and none pass in all revisions, the one departure from the schemas, for these errors only: parse
# error, invalid request, and what the head of an HTTP request shows before its body is read.
NO_ID_EXCEPTION = {-32700, -32600, -32020, -32022}

_new = []
_going_on = weakref.WeakSet()
_lock = threading.Lock()


class Recorder:
    """One conversation: a connection over stdio or serial, a session over HTTP.

    revision: of legacy messages until an answer to initialize names it. noise: whether what is no
    message may come between messages (comments and frames of a serial link, a prompt).
    """

    PORTION = 4000  # how much is kept before it is judged

    def __init__(self, revision=LATEST_LEGACY, noise=False):
        self.revision = revision
        self.noise = noise
        # Whether the client sends what it cannot read itself, so that answers may be to anything.
        self.mutated = False
        self.count = 0  # messages of the server's that were judged
        self._eras = set()  # True: requests of 2026-07-28 were made, False: of a legacy revision
        self._log = []  # (received, text, mutated) to be judged, in order
        self._rest = [b"", b""]
        self._open = {}  # id as JSON -> [Asked]
        self._garbled = deque(maxlen=100)  # lines of the client's that are no valid message
        self._tokens = {}  # progress token as JSON -> Asked
        self._promised = {}  # tool -> its output schema
        self._faults = []
        self._known = set()  # what was judged and found good
        with _lock:
            _new.append(self)

    # --- what went over the wire -----------------------------------------------------------------

    def sent(self, data):
        """Bytes of the client's stream, cut anywhere."""
        self._stream(False, data)

    def received(self, data):
        """Bytes of the server's stream, cut anywhere."""
        self._stream(True, data)

    def cut(self):
        """The connection was cut: what was half sent, either way, goes no further."""
        self._rest = [b"", b""]

    def sent_message(self, text):
        """One whole message of the client's, or a batch of them: JSON as bytes."""
        self._add(False, bytes(text))

    def received_message(self, text):
        """One whole message of the server's, or a batch of them: JSON as bytes."""
        self._add(True, bytes(text))

    def _stream(self, received, data):
        *lines, self._rest[received] = (self._rest[received] + bytes(data)).split(b"\n")
        for line in lines:
            self._add(received, line)

    def _add(self, received, text):
        self._log.append((received, text, self.mutated))
        if len(self._log) > self.PORTION:
            self._judge()

    # --- judging ---------------------------------------------------------------------------------

    def faults(self):
        """What is wrong with what came since the last time: [(line, text)]."""
        self._judge()
        faults, self._faults = self._faults, []
        return faults

    def _judge(self):
        log, self._log = self._log, []
        for received, line, mutated in log:
            if not received:
                self._sent(line)
            elif fault := self._received(line, mutated):
                self._faults.append((line, fault))

    def check(self):
        complain([self])

    def _sent(self, line):
        try:
            value = json.loads(line, object_pairs_hook=Members)
        except (ValueError, RecursionError):
            self._garbled.append(line)
            return
        for message in value if isinstance(value, list) else [value]:
            if not isinstance(message, Members) or message.odd:
                self._garbled.append(line)
            elif "method" in message and "id" in message:
                asked = Asked(message)
                self._eras.add(asked.modern)
                self._open.setdefault(json.dumps(message["id"]), []).append(asked)
                if asked.token is not None:
                    self._tokens[json.dumps(asked.token)] = asked

    def _received(self, line, mutated):
        """What is wrong with a line, or None."""
        if not line.startswith((b"{", b"[")):
            return None if self.noise or not line.strip() else "no message"
        try:
            value = json.loads(line, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            return None if self.noise and line[:1] == b"[" else f"no JSON: {error}"
        if not isinstance(value, list):
            return self._fault(value, mutated)
        if self.revision != "2025-03-26" or not value:
            return f"an array of {len(value)} in {self.revision}"
        return next(filter(None, [self._fault(message, mutated) for message in value]), None)

    def _fault(self, message, mutated):
        self.count += 1
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
            return "no JSON-RPC"
        if "method" in message:
            return self._asks(message) if "id" in message else self._tells(message, mutated)
        if ("result" in message) == ("error" in message):
            return "neither or both of result and error"
        judge = self._failure if "error" in message else self._answer
        return judge(message, mutated)

    def _answer(self, message, mutated):
        """A result, to any of the open requests with its id."""
        candidates = self._open.get(json.dumps(message["id"]) if "id" in message else None, [])
        result = message["result"]
        if not isinstance(result, dict):
            return "the result is no object"
        if not candidates:
            return None if mutated else "the answer to no request"
        for asked in candidates:
            fault = self._result_fault(asked, result)
            if fault is None:
                candidates.remove(asked)
                self._learn(asked, result)
                return None
        return None if mutated else f"to {asked.method} in {self._revision_of(asked)}: {fault}"

    def _revision_of(self, asked):
        return MODERN if asked.modern else self.revision

    def _result_fault(self, asked, result):
        revision = self._revision_of(asked)
        if asked.method == "initialize":
            revision = result.get("protocolVersion")
            if revision not in REVISIONS[:-1]:
                return f"protocolVersion {revision!r}"
        key = revision, asked.method, asked.tool, json.dumps(result), asked.takes_tasks
        if key in self._known:
            return None
        fault = wire_schema.schema(revision).result(asked.method, result)
        fault = fault or wire_schema.meta(result.get("_meta", {}))
        fault = fault or self._of_tools(asked, result)
        if fault is None and len(key[3]) < 4096:
            self._known.add(key)
        return fault

    def _of_tools(self, asked, result):
        """What tools promise, and whether they keep it."""
        if result.get("resultType") == "task" and not asked.takes_tasks:
            return "a task for a client that knows none"
        if asked.method == "tools/list":
            for tool in result["tools"]:
                for name in ("inputSchema", "outputSchema"):
                    fault = wire_schema.tool_schema(json.dumps(tool.get(name, {})))
                    if fault:
                        return f"{name} of {tool['name']}: {fault}"
        promised = asked.method == "tools/call" and self._promised.get(asked.tool)
        if promised and "content" in result and not result.get("isError"):
            if "structuredContent" not in result:
                return "no structuredContent in spite of an outputSchema"
            return wire_schema.instance(json.dumps(promised), result["structuredContent"])
        return None

    def _learn(self, asked, result):
        if asked.method == "initialize":
            self.revision = result["protocolVersion"]
        elif asked.method == "tools/list":
            for tool in result["tools"]:
                self._promised[tool["name"]] = tool.get("outputSchema")
                self._known = {key for key in self._known if key[2] != tool["name"]}

    def _failure(self, message, mutated):
        revision = self.revision
        if message.get("id") is None:
            error = message["error"]
            if not isinstance(error, dict) or error.get("code") not in NO_ID_EXCEPTION:
                return "no id, though the request could be read"
            message = {**message, "id": 0}
        else:
            candidates = self._open.get(json.dumps(message.get("id")), [])
            if candidates:
                revision = self._revision_of(candidates.pop(0))
            elif not mutated and not self._readable_in_garbled(message.get("id")):
                return "an error to no request"
        return wire_schema.schema(revision).error(message)

    def _readable_in_garbled(self, id):
        """Whether the client sent something damaged in which this id can still be read."""
        text = json.dumps(id, ensure_ascii=False).encode("utf-8", "surrogatepass")
        for line in self._garbled:
            if text in line:
                self._garbled.remove(line)
                return True
        return False

    def _asks(self, message):
        """A request of the server's: there are none in 2026-07-28."""
        if False not in self._eras:
            return f"{message['method']} is asked of a client of {MODERN}"
        return wire_schema.schema(self.revision).request(message)

    def _tells(self, message, mutated):
        params = message.get("params")
        params = params if isinstance(params, dict) else {}
        meta = params.get("_meta")
        eras = self._eras or {False}
        if message["method"] == "notifications/progress":
            asked = self._tokens.get(json.dumps(params.get("progressToken")))
            if asked is None:
                return None if mutated else "progress with a token that nobody gave"
            eras = {asked.modern}
        elif isinstance(meta, dict) and META + "subscriptionId" in meta:
            eras = {True}
        revisions = [MODERN if era else self.revision for era in eras]
        faults = [wire_schema.schema(revision).notification(message) for revision in revisions]
        return None if None in faults else faults[0]


class Asked:
    """A request of the client's."""

    def __init__(self, message):
        self.method = str(message["method"])
        params = message.get("params")
        params = params if isinstance(params, dict) else {}
        meta = params.get("_meta")
        meta = meta if isinstance(meta, dict) else {}
        self.modern = META + "protocolVersion" in meta or self.method == "server/discover"
        self.token = meta.get("progressToken")
        self.tool = str(params.get("name"))
        self.takes_tasks = TASKS in json.dumps(meta.get(META + "clientCapabilities"))


class Members(dict):
    """An object of the client's. odd: whether it is certainly no message."""

    def __init__(self, pairs):
        super().__init__(pairs)
        self.odd = len(self) < len(pairs) or not self.keys() & {"method", "result", "error"}


def _no_constant(text):
    raise ValueError(f"{text} is no JSON")


def complain(recorders):
    """AssertionError with what is wrong in any of these conversations."""
    faults = [fault for recorder in recorders for fault in recorder.faults()]
    assert not faults, "not what the schema says:\n" + "\n".join(
        f"  {fault}\n    {line[:400]!r}" for line, fault in faults[:20]
    )


def check_all(over=True):
    """Judge every conversation there is. over: a test is over, and those that nobody holds any
    longer may be forgotten."""
    LOGS.look()
    with _lock:
        recorders = list(_new) + list(_going_on)
        if over:
            _going_on.update(_new)
            _new.clear()
    complain(recorders)


class Logged(Recorder):
    """What stdio_tap.py writes down of one conversation. path: its file, which may still grow."""

    def __init__(self, path, **options):
        super().__init__(**options)
        self._file = open(path, "rb")  # noqa: SIM115, read as long as the conversation goes on
        self._portion = b""

    def faults(self):
        self._portion += self._file.read()
        while b"\n" in self._portion:
            head, _, rest = self._portion.partition(b"\n")
            size = int(head[1:])
            if len(rest) < size:
                break
            (self.sent if head[:1] == b">" else self.received)(rest[:size])
            self._portion = rest[size:]
        return super().faults()


class Logs:
    """A folder of conversations that stdio_tap.py writes down."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="mcpgw-wire-")
        self._known = set()

    @property
    def environment(self):
        """What a tap's environment needs."""
        return {"MCPGW_WIRE_LOGS": self._folder.name}

    def command(self, command):
        """The command (a list) with a tap in front of it."""
        return [sys.executable, "-S", str(TAP), *map(str, command)]

    def look(self):
        """Make a Recorder of each file that is new."""
        for name in sorted(set(os.listdir(self._folder.name)) - self._known):
            Logged(os.path.join(self._folder.name, name))
            self._known.add(name)


LOGS = Logs()
