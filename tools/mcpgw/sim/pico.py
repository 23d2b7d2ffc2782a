"""The emulated Raspberry Pi Pico: PicoSim."""

import contextlib
import itertools
import json
import os
import re
import subprocess
import threading
from pathlib import Path

from . import install
from .errors import SimError
from .machine import Lines, Machine

RUNNER = Path(__file__).with_name("pico.mjs")
DEFAULT_FIRMWARE = Path("build/pico/firmware.uf2")
POWER_CUT = 137  # exit code of the emulator when its power was cut
KEPT_EVENTS = 200_000


class PicoSim(Machine):
    """A Pico that runs a real .uf2 image.

    flash: file of the 2 MB flash image, made if absent, kept afterwards; without it a scratch file
    that lives until stop(). adc: {channel: value}, pins: {GPIO: 0 or 1}: what is connected.
    speed: simulated seconds per real second at most, 0 for as fast as possible. seed: makes the
    chip's random bits repeatable. id: its unique id, 16 hexadecimal digits. xip_cache: let reads
    of flash take the time that they take through its cache; see docs/simulator.md. spi_nor: file
    of a 1 MB flash chip on SPI 0 with its chip select at GPIO 17. hangup: hang up
    the pty while the board resets, as USB does; else only the bytes in flight are lost.
    on_event(dict): called with each event, from a thread of its own.
    """

    name = "Pico"
    make_target = "make pico"

    def __init__(
        self,
        firmware=DEFAULT_FIRMWARE,
        *,
        flash=None,
        link=None,
        tcp=None,
        adc=None,
        pins=None,
        speed=1.0,
        seed=None,
        id="e660000000000001",
        xip_cache=False,
        spi_nor=None,
        hangup=True,
        on_event=None,
    ):
        super().__init__(firmware, link=link, tcp=tcp)
        self._flash = Path(flash) if flash else None
        self._config = {
            "speed": speed,
            "seed": seed,
            "id": id,
            "xipCache": xip_cache,
            "adc": {str(channel): raw_adc(value) for channel, value in (adc or {}).items()},
            "pins": {str(pin): value for pin, value in (pins or {}).items()},
            "watch": [],
            "cut": None,
            "hold": False,
            "spiNor": spi_nor and {"bus": 0, "cs": 17, "size": 1 << 20, "file": str(spi_nor)},
        }
        if not re.fullmatch(r"[0-9a-fA-F]{16}", id):
            raise SimError(f"the id must be 16 hexadecimal digits, not {id!r}")
        self._hangup = hangup
        self._on_event = on_event
        self._events = Lines()
        self._replies = Lines()
        self._ids = itertools.count(1)
        self._writing = threading.Lock()
        self._reader = None
        self._plugged = threading.Event()
        self._seen_ready = False
        self._lock = None

    # --- life ------------------------------------------------------------------------------------

    @property
    def flash_path(self):
        """The file that holds the flash."""
        return self._flash or self.scratch() / "flash.img"

    def start(self, timeout=60):
        """Power on; see Machine.start(). A cut asked for before counts from here."""
        super().start(timeout)
        self._config["cut"] = None
        self._config["hold"] = False
        return self

    def _launch(self, timeout):
        node, rp2040js, bootrom = install.locate()
        self._take_flash()
        config = {
            **self._config,
            "bootrom": str(bootrom),
            "firmware": str(self.firmware) if self.firmware else None,
            "flash": str(self.flash_path),
        }
        fds = ()
        theirs = None
        if self._tcp is None:
            theirs = self._socketpair()
            config["consoleFd"] = theirs.fileno()
            fds = (theirs.fileno(),)
        else:
            config["tcp"] = self._tcp
            config["hangup"] = self._hangup
        self._events = Lines()
        self._replies = Lines()
        self._process = subprocess.Popen(
            [node, str(RUNNER), json.dumps(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, "MCPGW_RP2040JS": str(rp2040js)},
            pass_fds=fds,
        )
        if theirs:
            theirs.close()
        self._reader = threading.Thread(target=self._read, name="pico", daemon=True)
        self._plugged = threading.Event()
        self._seen_ready = False
        self._reader.start()
        if not self._plugged.wait(timeout):
            raise self._failed(f"no USB console after {timeout} s (wrong firmware?)")
        if not self._seen_ready:
            self._process.wait()
            if self._process.returncode != POWER_CUT:
                raise self._failed("the emulator stopped")

    def _take_flash(self):
        """Hold a lock on the flash file: two boards writing one image would ruin it."""
        self.flash_path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.flash_path, "a+b")  # noqa: SIM115, held while the board is on
        try:
            import fcntl
        except ImportError:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SimError(f"{self.flash_path} is in use by another simulated board") from None

    def _ended(self):
        if self._reader and self._reader is not threading.current_thread():
            self._reader.join()
            self._reader = None
        if self._lock:
            self._lock.close()
            self._lock = None

    # --- control channel -------------------------------------------------------------------------

    def _read(self):
        try:
            for line in self._process.stdout:
                message = json.loads(line)
                if "event" in message:
                    self._react(message)
                else:
                    self._replies.put(message)
        finally:
            self._events.end()
            self._replies.end()
            self._unplug()
            self._plugged.set()

    def _react(self, message):
        event = message["event"]
        if event == "listening":
            self._port = f"socket://127.0.0.1:{message['port']}"
        elif event == "ready":
            if self._tcp is None and not self._pty:
                self._plug(self._client)
            self._seen_ready = True
            self._plugged.set()
        elif event in ("reset", "bootloader"):
            self._plugged.clear()
            if self._hangup or event == "bootloader":
                self._unplug()
        if len(self._events.items) < KEPT_EVENTS:
            self._events.put(message)
        if self._on_event:
            self._on_event(message)

    def _client(self, is_open):
        with contextlib.suppress(SimError):
            self._send({"cmd": "open", "on": is_open})

    def _send(self, message):
        data = json.dumps(message).encode() + b"\n"
        try:
            with self._writing:
                self._process.stdin.write(data)
                self._process.stdin.flush()
        except (OSError, ValueError, AttributeError):
            raise self._failed("the Pico has no power") from None

    def command(self, cmd, timeout=30, **fields):
        """Send one command on the control channel and return its answer, a dict."""
        number = next(self._ids)
        self._send({"id": number, "cmd": cmd, **fields})
        reply = self._replies.take(lambda message: message["id"] == number, timeout)
        if reply is None:
            raise self._failed(f"no answer to {cmd}")
        if "error" in reply:
            raise SimError(reply["error"])
        return reply

    def wait_event(self, event, timeout=30, **fields):
        """Wait for an event that was not returned before; returns it or raises SimError."""
        wanted = {"event": event, **fields}
        found = self._events.take(lambda message: wanted.items() <= message.items(), timeout)
        if found is None:
            raise self._failed(f"no event {wanted} within {timeout} s")
        return found

    def events(self, event):
        """Remove and return all events of one kind up to now."""
        if self.running:
            self.status()  # its answer comes after what happened before
        with self._events.changed:
            found = [item for item in self._events.items if item["event"] == event]
            self._events.items = [item for item in self._events.items if item["event"] != event]
        return found

    def wait_ready(self, timeout=30):
        """Wait until the console is there, after a reset."""
        if not self._plugged.wait(timeout) or not self.running:
            raise self._failed(f"no USB console within {timeout} s")

    # --- what one does to a board ----------------------------------------------------------------

    def power_cut_at(self, n, bytes=None, mode="prefix", seed=0):
        """Cut the power in the n-th flash operation (sector erase or page program) from now, or
        from power-on if the board is off. mode: "prefix" (the first `bytes` bytes are done, half
        by default), "bits" (a random subset of the bits), "marginal" (an erase that reads as done
        and is not to be trusted)."""
        cut = {"n": n, "bytes": bytes, "mode": mode, "seed": seed}
        if self.running:
            self.command("cut", **cut)
        else:
            self._config["cut"] = cut

    def hold(self):
        """At the next start let no simulated time pass from when the console is there until go():
        what is sent to the board meanwhile has waited for it from that moment."""
        self._config["hold"] = True

    def go(self):
        """End the standstill that hold() asked for."""
        self.command("go")

    def reset(self):
        """Press the reset button, and wait until the console is back."""
        self._plugged.clear()
        self.command("reset")
        self.wait_ready()

    def adc(self, channel, value):
        """Set an analogue input: channel 0 to 3 (GPIO 26 to 29) or 4 (temperature); value 0 to
        4095, or a text such as "1.65V" of a 3.3 V range."""
        value = raw_adc(value)
        self._config["adc"][str(channel)] = value
        if self.running:
            self.command("adc", channel=channel, value=value)

    def pin(self, pin, value):
        """Drive a GPIO from outside: 0, 1, or None to let go."""
        self._config["pins"].pop(str(pin), None)
        if value is not None:
            self._config["pins"][str(pin)] = value
        if self.running:
            self.command("pin", pin=pin, value=value)

    def read_pin(self, pin):
        """The level of a GPIO, 0 or 1."""
        return self.command("read", pin=pin)["value"]

    def watch(self, *pins):
        """Report output edges of these GPIOs as events {"event": "pin", "pin", "value", "cycles",
        "ns"}: executed core cycles and simulated nanoseconds since the last reset."""
        self._config["watch"] = list(pins)
        if self.running:
            self.command("watch", pins=list(pins))

    def trace(self, on=True):
        """Report each console packet as an event {"event": "packet", "direction": "in" (to the
        host) or "out", "length", "ends" (with a line feed), "ns"}."""
        self.command("trace", on=on)

    def status(self):
        """A dict: cycles, ns, ready, open, waiting, stopped, resets, operations (of the flash),
        sent, received and pending (console bytes; the board has not taken the last yet), cpu
        (seconds of the host's processor), xip (None, or of the flash's cache since the last reset:
        hits, misses, the cycles stalled for them, and the cost of a miss now, in cycles)."""
        return self.command("status")

    @property
    def cycles(self):
        """Core cycles executed since the last reset; sleeping costs none."""
        return self.status()["cycles"]

    @property
    def ns(self):
        """Simulated nanoseconds since the last reset."""
        return self.status()["ns"]


def raw_adc(value):
    """12-bit value of "1.65V" or of a number 0 to 4095."""
    try:
        if isinstance(value, str) and value.strip().upper().endswith("V"):
            value = round(float(value.strip()[:-1]) / 3.3 * 4095)
        value = int(value)
    except ValueError:
        raise SimError(f"{value!r} is neither 0 to 4095 nor volts such as 1.65V") from None
    if not 0 <= value <= 4095:
        raise SimError(f"the ADC takes 0 to 4095 (0 V to 3.3 V), not {value}")
    return value
