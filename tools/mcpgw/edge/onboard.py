"""The configuration's files on a board, over its raw REPL.

The board reads one file. Beside it, for these tools, lie the two parts that it was made of: what
was deployed, and what pairing has added; so that either can be changed or removed by itself.
"""

from binascii import a2b_base64, crc32

from .. import UserError
from .compiled import compile_config, merged, read_compiled

PATH = "/mcp-edge.json"  # as in mcp_gw/config.py
FOLDER = "/.mcp-edge"
DEPLOYED = FOLDER + "/deployed.json"
PAIRED = FOLDER + "/paired.json"
_STAGED = FOLDER + "/new"

# Runs on the board. rd: the bytes of a file in base64, None where there is none. rm, rmd: remove a
# file or an empty folder, if it is there. about: what the board can do.
_ON_BOARD = """
import os, binascii
def rd(path):
    try:
        with open(path, 'rb') as f: return binascii.b2a_base64(f.read(8192)).decode()
    except OSError: return None
def rm(path):
    try: os.remove(path)
    except OSError: pass
def md(path):
    try: os.mkdir(path)
    except OSError: pass
def rmd(path):
    try: os.rmdir(path)
    except OSError: pass
def has(name):
    try: return __import__(name)
    except ImportError: return None
def about():
    gw = has('mcp_gw')
    try:
        from mcp_gw.config import configured
    except ImportError: configured = None
    m = has('machine')
    i = m.unique_id() if hasattr(m, 'unique_id') else b''
    return {'mcp_gw': gw and gw.__version__, 'edge': bool(configured),
        'id': binascii.hexlify(i).decode(),
        'network': bool(has('socket')), 'wifi': hasattr(has('network'), 'WLAN')}
"""


class EdgeFiles:
    """The configuration on the board behind an open Remote."""

    def __init__(self, remote):
        self._remote = remote
        remote.exec(_ON_BOARD)
        self.about = remote.ask("about()")
        if not self.about["mcp_gw"]:
            raise UserError(
                f"the board on {remote.port} has no mcp_gw: flash its firmware first "
                "(mcpgw flash BOARD)"
            )
        if not self.about["edge"]:
            raise UserError(
                f"mcp_gw {self.about['mcp_gw']} on {remote.port} is too old for a configuration: "
                "flash newer firmware (mcpgw flash BOARD)"
            )

    def read(self, path=PATH):
        """The sections in a file on the board, None where there is none. Raises UserError."""
        text = self._remote.ask(f"rd({path!r})")
        if text is None:
            return None
        try:
            return read_compiled(a2b_base64(text))
        except (ValueError, KeyError, TypeError) as e:
            raise UserError(
                f"{path} on the board cannot be used ({e}): deploy it again, or remove it with "
                "mcpgw config remove"
            ) from None

    def part(self, path):
        """One of the two parts; {} where there is none, or one that cannot be used."""
        try:
            return self.read(path) or {}
        except UserError:
            return {}

    def damaged(self, path):
        """Whether there is a file that cannot be used."""
        try:
            self.read(path)
        except UserError:
            return True
        return False

    def effective(self, deployed=None, paired=None):
        """The sections that a change of one part would give."""
        deployed = self.part(DEPLOYED) if deployed is None else deployed
        paired = self.part(PAIRED) if paired is None else paired
        return merged(paired, deployed)

    def write(self, path, part):
        """Change one part ({}: remove it), and with it what the board reads; each file is whole
        at any time. Returns the sections that are in force now."""
        now = self.effective(**{"deployed" if path == DEPLOYED else "paired": part})
        self.fit(now)
        self._remote.exec(f"md({FOLDER!r})")
        self._put(path, part)
        self._put(PATH, now)
        self._remote.exec(f"rmd({FOLDER!r})\nif hasattr(os, 'sync'): os.sync()")
        return now

    def remove_all(self):
        """Remove every file, whatever is in them. Returns whether there was any."""
        paths = (PATH, DEPLOYED, PAIRED, _STAGED)
        there = any(self._remote.ask(f"rd({path!r})") is not None for path in paths)
        for path in paths:
            self._remote.exec(f"rm({path!r})")
        self._remote.exec(f"rmd({FOLDER!r})")
        return there

    def fit(self, sections):
        """Raise UserError where this board cannot do what the sections say."""
        network = {"wifi", "http", "dial"} & {s for s, table in sections.items() if table}
        urls = [name for name, row in sections.get("upstreams", {}).items() if "url" in row]
        if sections.get("time", {}).get("sntp"):
            network.add("time")
        if not self.about["network"] and (network or urls):
            what = [f"[{section}]" for section in sorted(network)]
            what += [f"the url in [upstreams.{name}]" for name in urls]
            raise UserError(f"this board has no network, which {', '.join(what)} would need")
        if "wifi" in network and not self.about["wifi"]:
            raise UserError("this board has no Wi-Fi, which [wifi] would need")

    def _put(self, path, sections):
        if not sections:
            self._remote.exec(f"rm({path!r})")
            return
        data = compile_config(sections)
        self._remote.write_file(_STAGED, data)
        arrived = a2b_base64(self._remote.ask(f"rd({_STAGED!r})") or "")
        if crc32(arrived) != crc32(data):
            self._remote.exec(f"rm({_STAGED!r})")
            raise UserError(f"{path} did not arrive as it was sent; the old one stays")
        self._remote.exec(f"os.rename({_STAGED!r}, {path!r})")


def serves_serial(sections):
    """Whether a gateway with these sections answers on the serial port."""
    serve = sections.get("board", {}).get("serve")
    return serve is None or "serial" in serve or "stdio" in serve
