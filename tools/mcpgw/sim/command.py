"""`mcpgw sim`: simulated boards on the command line."""

import contextlib
import json
import os
import shlex
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from ..board import tree_root
from . import install
from .cortex import CortexM3Sim, CortexM4FSim
from .errors import SimError
from .pico import DEFAULT_FIRMWARE as PICO_FIRMWARE
from .pico import PicoSim

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Simulated boards that run the real firmware.",
)

HELP = """Commands on standard input, as words or as JSON objects ({"cmd": "adc", ...}):
  adc CHANNEL VALUE        0 to 4095, or volts such as 1.65V
  pin GPIO 0|1|-           drive a GPIO, or let go of it
  read GPIO                its level
  watch GPIO ...           report its output edges
  trace 0|1                report console packets with their simulated time
  cut N [BYTES] [MODE]     cut the power in the N-th flash operation from now (0: do not)
  speed X                  simulated time per real time at most, 0: no limit
  reset | off | on         the reset button, the power
  status                   cycles, simulated time, flash operations
  quit"""


@app.command()
def setup():
    """Install the Pico's emulator (rp2040js from npm, the boot ROM) into the cache."""
    with _errors():
        done = install.setup()
        home = install.locate()[2].parent
    print(f"rp2040js {install.VERSION} {'installed in' if done else 'is in'} {home}")


@app.command()
def pico(
    firmware: Annotated[Path, typer.Argument(help="a .uf2 image")] = PICO_FIRMWARE,
    flash: Annotated[Path | None, typer.Option(help="file that keeps the flash")] = None,
    link: Annotated[Path | None, typer.Option(help="symbolic link to keep at the port")] = None,
    tcp: Annotated[int | None, typer.Option(help="serve the console on this TCP port")] = None,
    cut: Annotated[
        str | None, typer.Option(metavar="N[:BYTES]", help="power cut in the N-th flash operation")
    ] = None,
    cut_mode: Annotated[str, typer.Option(help="prefix, bits or marginal")] = "prefix",
    seed: Annotated[
        int | None, typer.Option(help="of torn bits and the chip's random bits")
    ] = None,
    adc: Annotated[list[str] | None, typer.Option(metavar="CH=VALUE", help="e.g. 0=1.65V")] = None,
    pin: Annotated[list[str] | None, typer.Option(metavar="N=0|1", help="drive a GPIO")] = None,
    watch: Annotated[list[int] | None, typer.Option(help="report a GPIO's edges")] = None,
    speed: Annotated[
        float, typer.Option(min=0, help="times real time at most, 0: no limit")
    ] = 1.0,
    id: Annotated[str, typer.Option(help="unique id, 16 hexadecimal digits")] = "e660000000000001",
    xip_cache: Annotated[
        bool, typer.Option("--xip-cache", help="count the time that reading flash takes")
    ] = False,
    spi_nor: Annotated[
        Path | None,
        typer.Option(help="file of a 1 MB flash chip on SPI 0, chip select GP17; made if absent"),
    ] = None,
    hangup: Annotated[bool, typer.Option(help="hang up the port while the board resets")] = True,
):
    """Run a Raspberry Pi Pico image."""
    with _errors():
        board = PicoSim(
            _built(firmware, PICO_FIRMWARE),
            flash=flash,
            link=link,
            tcp=tcp,
            adc=_pairs(adc, str),
            pins=_pairs(pin, int),
            speed=speed,
            seed=seed,
            id=id,
            xip_cache=xip_cache,
            spi_nor=spi_nor,
            hangup=hangup,
            on_event=_show,
        )
        board.watch(*(watch or ()))
        if cut:
            board.power_cut_at(*_cut(cut), cut_mode, seed or 0)
        _run(board, f"flash {board.flash_path}")


_LINK = typer.Option(help="symbolic link to keep at the port")
_TCP = typer.Option(help="serve the console on this TCP port")
_ICOUNT = typer.Option(help="an instruction takes 2**N ns: deterministic costs")
_ROM = typer.Option(help="image of a ROM file system to have at /rom")


@app.command("cortex-m3")
def cortex_m3(
    firmware: Annotated[Path, typer.Argument(help="an .elf image")] = CortexM3Sim.default_firmware,
    link: Annotated[Path | None, _LINK] = None,
    tcp: Annotated[int | None, _TCP] = None,
    icount: Annotated[int | None, _ICOUNT] = None,
    rom: Annotated[Path | None, _ROM] = None,
):
    """Run a Cortex-M3 image in QEMU (machine mps2-an385)."""
    _cortex(CortexM3Sim, firmware, link=link, tcp=tcp, icount=icount, rom=rom)


@app.command("cortex-m4f")
def cortex_m4f(
    firmware: Annotated[
        Path, typer.Argument(help="an .elf image")
    ] = CortexM4FSim.default_firmware,
    link: Annotated[Path | None, _LINK] = None,
    tcp: Annotated[int | None, _TCP] = None,
    icount: Annotated[int | None, _ICOUNT] = None,
    rom: Annotated[Path | None, _ROM] = None,
):
    """Run a Cortex-M4F image in QEMU (machine mps2-an386)."""
    _cortex(CortexM4FSim, firmware, link=link, tcp=tcp, icount=icount, rom=rom)


def _cortex(sim, firmware, **options):
    with _errors():
        _run(sim(_built(firmware, sim.default_firmware), **options))


@contextlib.contextmanager
def _errors():
    try:
        yield
    except SimError as error:
        print(f"mcpgw sim: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


def _built(firmware, default):
    """The default image is found from every folder: in the checkout that these tools are from."""
    root = tree_root()
    if firmware == default and not firmware.exists() and root and (root / default).exists():
        return root / default
    return firmware


def _pairs(options, value_type):
    """{0: "1.65V"} of ["0=1.65V"]."""
    pairs = {}
    for option in options or ():
        key, _, value = option.partition("=")
        try:
            pairs[int(key)] = value_type(value)
        except ValueError:
            raise SimError(f"{option!r} should be NUMBER=VALUE") from None
    return pairs


def _cut(option):
    """(n, bytes or None) of N[:BYTES]."""
    n, _, size = option.partition(":")
    try:
        return int(n), int(size) if size else None
    except ValueError:
        raise SimError(f"{option!r} should be N[:BYTES]") from None


def _show(event):
    # In one piece: events come from a thread of their own, between other lines.
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def _run(board, *more):
    """Run the board until it ends, answering commands. Ends with the board's exit code."""
    with board:
        lines = [f"{board.name} runs {board.firmware}"]
        if board.running:
            lines.append(f"  port {board.port}" + (f" -> {board.device}" if board.device else ""))
        lines += (f"  {line}" for line in more)
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
        has_commands = isinstance(board, PicoSim)
        shell = _Shell(board) if has_commands else None
        if shell and _may_read_stdin():
            if sys.stdin.isatty():
                print(HELP, flush=True)
            threading.Thread(target=shell.read, daemon=True).start()
        try:
            while True:
                code = _wait(board)
                if shell is None or not shell.expects_power():
                    raise typer.Exit(max(code or 0, 0))
        except KeyboardInterrupt:
            raise typer.Exit(0) from None


def _wait(board):
    while True:
        try:
            return board.wait_exit(3600)
        except SimError:  # it still runs
            continue


def _may_read_stdin():
    """Not as a background job of a terminal: reading would stop us."""
    if not sys.stdin or sys.stdin.closed:
        return False
    if not sys.stdin.isatty() or os.name != "posix":
        return True
    return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()


class _Shell:
    """Runs the commands of HELP."""

    def __init__(self, board):
        self.board = board
        self.switched_off = False
        self.power = threading.Event()

    def read(self):
        for line in sys.stdin:
            if not line.strip():
                continue
            try:
                answer = self.execute(self.parse(line))
                _show({"ok": True, **answer})
            except (SimError, ValueError, TypeError, KeyError) as error:
                _show({"error": str(error)})

    def parse(self, line):
        """A dict with the command `cmd` and its fields, of words or JSON."""
        if line.lstrip().startswith("{"):
            return json.loads(line)
        cmd, *args = shlex.split(line)
        names = {
            "adc": ("channel", "value"),
            "pin": ("pin", "value"),
            "read": ("pin",),
            "trace": ("on",),
            "cut": ("n", "bytes", "mode"),
            "speed": ("value",),
        }
        if cmd == "watch":
            return {"cmd": cmd, "pins": [int(arg) for arg in args]}
        if len(args) > len(names.get(cmd, ())):
            raise SimError(f"too many words after {cmd}")
        fields = {}
        for name, arg in zip(names.get(cmd, ()), args, strict=False):
            keep = name == "mode" or cmd == "adc"
            fields[name] = None if arg == "-" else arg if keep else json.loads(arg)
        return {"cmd": cmd, **fields}

    def execute(self, message):
        board = self.board
        message.pop("id", None)
        cmd = message.pop("cmd", None)
        if cmd in ("help", "?"):
            print(HELP)
        elif cmd == "quit":
            board.kill()
        elif cmd == "off":
            self.switched_off = True
            board.kill()
        elif cmd == "on":
            self.power.set()
        elif cmd == "adc":
            board.adc(int(message["channel"]), message["value"])
        elif cmd == "pin":
            board.pin(message["pin"], message["value"])
        elif cmd == "reset":
            board.reset()
        else:
            reply = board.command(cmd, **message)
            return {key: value for key, value in reply.items() if key not in ("id", "ok")}
        return {}

    def expects_power(self):
        """After the board's end: wait for `on` if it was switched off, and start it. Returns False
        if it was not."""
        if not self.switched_off:
            return False
        self.switched_off = False
        self.power.wait()
        self.power.clear()
        self.board.start()
        return True
