"""Plain log lines for people: what the bridge does, and what the board prints."""

import re
import threading
import time

_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
# Text of a board that never ends its line is shown after this many characters all the same.
_LINE_MAX = 2000


class Log:
    """Writes lines to a text stream; usable from any thread.

    stream: where lines go; stamped: put the time of day before each line (for files).
    """

    def __init__(self, stream, stamped=False):
        self._stream = stream
        self._stamped = stamped
        self._lock = threading.Lock()

    def line(self, who, text):
        """One line; control characters and terminal escapes are taken out."""
        text = _CONTROLS.sub("", text.replace("\n", " ")).rstrip()
        stamp = time.strftime("%Y-%m-%d %H:%M:%S ") if self._stamped else ""
        with self._lock:
            try:
                self._stream.write(f"{stamp}{who}: {text}\n")
                self._stream.flush()
            except (OSError, ValueError):
                pass  # nobody reads the log any more; that must not stop the bridge

    def info(self, text):
        self.line("mcpgw", text)


class LineJoiner:
    """Joins pieces of text that end anywhere into whole lines for Log.line."""

    def __init__(self, log, who):
        self._log = log
        self._who = who
        self._rest = ""

    def add(self, text):
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._log.line(self._who, line)
        if len(self._rest) > _LINE_MAX:
            self.flush()

    def flush(self):
        """Show what has no line end yet."""
        if self._rest:
            self._log.line(self._who, self._rest)
            self._rest = ""
