"""Batches (revision 2025-03-26): a board on a serial line takes their messages one by one."""

import json

from mcp_gw.batch import Batch as BoardBatch
from mcp_gw.protocol.jsontext import items
from mcp_gw.protocol.revisions import BATCHES, BY_NAME

from .calls import parse

MOST = BoardBatch.MOST


def agreed(answer):
    """Whether the answer to initialize (bytes) names a revision that has batches."""
    result = parse(answer).get("result")
    version = result.get("protocolVersion") if isinstance(result, dict) else None
    revision = BY_NAME.get(version) if isinstance(version, str) else None
    return revision is not None and revision.features & BATCHES != 0


def messages(line):
    """The messages of a batch, each as bytes, or None for what is no batch."""
    try:
        rows = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not 0 < len(rows) <= MOST:
        return None
    return [line[start:end] for start, end in items(line, line.find(b"["))]


class Answers:
    """Gathers the answers to one batch. to_client: function(line), called once with all."""

    def __init__(self, to_client):
        self._to_client = to_client
        self._lines = []
        self._due = 0
        self._whole = False  # all messages of the batch were looked at

    def expect(self):
        """One more answer is due."""
        self._due += 1

    def add(self, line):
        """The answer to one message has come."""
        self._lines.append(line)
        self._send()

    def close(self):
        """All messages of the batch were looked at."""
        self._whole = True
        self._send()

    def drop(self):
        """An answer that was due will not come: its request was cancelled."""
        self._due -= 1
        self._send()

    def _send(self):
        if self._whole and self._lines and len(self._lines) == self._due:
            self._to_client(b"[" + b",".join(self._lines) + b"]")
            self._lines = []
