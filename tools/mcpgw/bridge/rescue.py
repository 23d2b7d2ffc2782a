"""Gets a board out of its REPL, where mpremote or a crash left it. No I/O; times are passed in.

A gateway that serves is never disturbed: what is sent are a CR, Ctrl-B and LF, which are an empty
line and a line of noise to it, and only a prompt that shows up in answer earns a Ctrl-D, the soft
reset that starts main.py, or a Ctrl-C, when the REPL waits for the rest of a statement.
"""

# CR runs (or clears) what was typed at a prompt, Ctrl-B leaves the raw REPL for the friendly one,
# and LF ends the line for a gateway; the REPL ignores it.
POKE = b"\r\x02\n"
SOFT_RESET = b"\x04"
CANCEL = b"\x03"

_PROMPT = b">>> "
_MORE = b"... "
# A REPL echoes what it is sent; a gateway does not.
ECHO = b'"by":"mcpgw'
_RESTARTS = (b"MPY: soft reboot", b"ESP-ROM:", b"rst:0x", b"ets J", b"boot:0x")

_ECHO_S = 1.5
_PROMPT_S = 0.3
_SILENCE_S = 3.0
_BOOT_S = 5.0
_MAX_RESETS = 2
_MAX_POKES = 4

AT_PROMPT = (
    "the board is at its MicroPython prompt and restarting it does not start a gateway; "
    "put a main.py there with: mcpgw deploy APP"
)
SILENT = (
    "the board does not answer; does it run mcp_gw? Reset it, or look at it with: "
    "mpremote connect {port} repl"
)


class Rescue:
    """Watches one open port.

    gave_up: None, or the text that tells the user why (AT_PROMPT or SILENT).
    """

    def __init__(self, now):
        self._tail = b""
        self._heard = now
        self._asked = None
        self._next = now
        self._pokes = 0
        self._resets = 0
        self.gave_up = None

    @property
    def at_prompt(self):
        return self._tail.endswith(_PROMPT)

    @property
    def busy(self):
        """A prompt is about to be answered; a hello typed there would be in the way."""
        return self._asked is not None and self.at_prompt and not self.gave_up

    def asked(self, now):
        """A hello was sent."""
        if self._asked is None:
            self._asked = now

    def answered(self):
        """The board answered it: a gateway serves."""
        self._tail = b""
        self._asked = self.gave_up = None
        self._pokes = self._resets = 0

    def heard(self, data, now):
        """Bytes have come in. Returns True when they look like a restart of the board."""
        seen = self._tail + data
        self._tail = seen[-512:]
        self._heard = now
        if self.at_prompt or self._tail.endswith(_MORE):
            self._next = min(self._next, now + _PROMPT_S)
        if any(mark in seen for mark in _RESTARTS):
            for mark in _RESTARTS:
                self._tail = self._tail.replace(mark, b"")
            self.gave_up = None
            self._pokes = 0
            self._next = max(self._next, now + _SILENCE_S)
            return True
        return False

    def step(self, now):
        """Bytes to send now, or None. To be called a few times a second."""
        if self._asked is None or self.gave_up or now < self._next:
            return None
        waited = now - self._asked
        if self.at_prompt and waited >= _ECHO_S:
            if self._resets == _MAX_RESETS:
                self.gave_up = AT_PROMPT
                return None
            self._resets += 1
            self._next = now + _BOOT_S
            self._tail = b""
            return SOFT_RESET
        if self._pokes and self._tail.endswith(_MORE):
            self._tail = b""
            return CANCEL
        repl = ECHO in self._tail or _PROMPT in self._tail
        if (repl and waited >= _ECHO_S) or (
            waited >= _SILENCE_S and now - self._heard >= _SILENCE_S
        ):
            if self._pokes == _MAX_POKES:
                self.gave_up = AT_PROMPT if repl or self._resets else SILENT
                return None
            self._pokes += 1
            self._next = now + (0.5 if repl else _SILENCE_S * self._pokes)
            self._tail = b""
            return POKE
        return None


class NoRescue:
    """In the place of a Rescue, for a connection behind which there is no prompt."""

    gave_up = None
    at_prompt = busy = False

    def asked(self, now):
        """A hello was sent."""

    def answered(self):
        """It was answered."""

    def heard(self, data, now):
        """A restart shows by the end of the connection."""
        return False

    def step(self, now):
        """Nothing is to be sent."""
        return None
