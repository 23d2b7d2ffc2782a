#!/usr/bin/env python3
"""Get the sources the firmware is built from: MicroPython and the libraries it needs.

They come from Debian's archive (whichever mirror this machine's own apt is set up for), each file
pinned by SHA-256, and are unpacked into one tree outside the repository:

    ${MCPGW_CACHE:-${XDG_CACHE_HOME:-~/.cache}/mcpgw}/downloads/
                                                     /src-ID/micropython
                                                     /src-ID/picotool

With MPY_DIR set (a MicroPython checkout, 1.25 or newer, with its submodules) nothing is fetched.

Prints the MicroPython folder, and the picotool folder where there is one.  --write FILE puts the
same lines into FILE, touching it only when they change, so that make can depend on it.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

MINIMUM = (1, 25)

# Where in Debian's pool, the SHA-256, and the folder of the unpacked tree it becomes.  The
# upstream tarballs are used as they are, without Debian's patches.
PINS = [
    (
        "m/micropython/micropython_1.25.0+ds.orig.tar.xz",
        "7b25be99a502f070b2de81dafc08da7051d992325d6e67daa9045a918fffdbea",
        "micropython",
    ),
    (
        "m/mbedtls/mbedtls_3.6.6.orig.tar.bz2",
        "8fb65fae8dcae5840f793c0a334860a411f884cc537ea290ce1c52bb64ca007a",
        "micropython/lib/mbedtls",
    ),
    (
        "l/lwip/lwip_2.2.1+dfsg1.orig.tar.xz",
        "83729c274c499d3348e9fbbe043a3113f3fa8953e7efddc7c21c7fcbb1f2b7b1",
        "micropython/lib/lwip",
    ),
    (
        "p/pico-sdk/pico-sdk-source_2.1.1-1_all.deb",
        "507a3ca37636641bc90239d7c04dc9dc28c5008087a8162102ea94d2273153d3",
        "micropython/lib/pico-sdk",
    ),
    (
        "t/tinyusb/tinyusb-source_0.18.0+dfsg-1_all.deb",
        "01ce2c645df68f14a8a7dcfc8fb355713152543757955820479a87949a61154e",
        "micropython/lib/tinyusb",
    ),
    (
        "p/picotool/picotool_2.1.1+dfsg.orig.tar.xz",
        "c515d75ce6df590ca783b3a4267f6e8a963ffec753aeeb1892f8ba1771b8786d",
        "picotool",
    ),
]
SUITE = "trixie"  # the Debian release these versions belong to
APT_HELPER = "/usr/lib/apt/apt-helper"
WAY_OUT = (
    "Build from your own MicroPython checkout instead (1.25 or newer, with its submodules):\n"
    "    make TARGET MPY_DIR=/path/to/micropython"
)


class SourcesError(Exception):
    """The sources cannot be had; the text says what was tried and what to do."""


def cache_dir() -> Path:
    own = os.environ.get("MCPGW_CACHE")
    if own:
        return Path(own).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mcpgw"


def sha256(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


# --- this machine's Debian archive -----------------------------------------------------------


def entries_deb822(text: str) -> Iterator[dict[str, str]]:
    """The stanzas of a .sources file, as dicts with lower-case keys."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                fields[key] = fields.get(key, "") + "\n" + line
            elif ":" in line:
                key, _, value = line.partition(":")
                key = key.strip().lower()
                fields[key] = value.strip()
        yield fields


def entries_one_line(text: str) -> Iterator[dict[str, str]]:
    """The `deb [options] URI suite component...` lines of a .list file, in the same form."""
    for line in text.splitlines():
        m = re.match(r"\s*deb\s+(?:\[([^]]*)\]\s*)?(\S+)\s+(\S+)\s+([^#]*)", line)
        if m:
            signed = re.search(r"signed-by=(\S+)", m[1] or "", re.I)
            entry = {"types": "deb", "uris": m[2], "suites": m[3], "components": m[4]}
            yield entry | ({"signed-by": signed[1]} if signed else {})


def archives(apt: Path = Path("/etc/apt")) -> list[dict[str, str]]:
    """The machine's own entries that may be Debian's main archive."""
    found = []
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    for path in files:
        if path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        parse = entries_deb822 if path.suffix == ".sources" else entries_one_line
        for entry in parse(path.read_text()):
            if entry.get("enabled", "yes").lower() in ("no", "false"):
                continue
            # a suite such as "bookworm": not -security, -updates, a third party's, or a flat "./"
            plain = any(re.fullmatch(r"[a-z]+", s) for s in entry.get("suites", "").split())
            if plain and "main" in entry.get("components", "").split():
                found += [entry | {"uri": uri} for uri in entry.get("uris", "").split()]
    return found


# --- download -------------------------------------------------------------------------------


def fetch(uri: str, dest: Path, digest: str) -> bool:
    """Download with apt's own downloader (its proxies and mirrors apply). False if not there."""
    part = dest.with_name(f"{dest.name}.{os.getpid()}.part")
    # "root" only means: no change of user for the download; what arrives is checked below
    command = [APT_HELPER, "-qq", "-o", "APT::Sandbox::User=root", "download-file", uri, str(part)]
    try:
        subprocess.run(command, capture_output=True, check=False)
        if not part.is_file() or sha256(part) != digest:
            return False
        part.replace(dest)
        return True
    finally:
        part.unlink(missing_ok=True)


def offered(archive: dict[str, str], package: str, name: str) -> dict[str, str]:
    """What the archive's index offers in place of the pinned file: {file name: URI}.

    Reads the index of SUITE through a private apt configuration: the machine's own stays as it is.
    """
    with tempfile.TemporaryDirectory() as tmp:
        for sub in ("lists/partial", "cache/archives/partial"):
            Path(tmp, sub).mkdir(parents=True)
        source = Path(tmp, "pinned.sources")
        stanza = f"Types: deb deb-src\nURIs: {archive['uri']}\nSuites: {SUITE}\nComponents: main\n"
        if "signed-by" in archive:
            stanza += f"Signed-By: {archive['signed-by']}\n"
        source.write_text(stanza)
        options = [f"Dir::Etc::sourcelist={source}", "Dir::Etc::sourceparts=/dev/null"]
        options += [f"Dir::State::Lists={tmp}/lists", f"Dir::Cache={tmp}/cache"]
        options += ["APT::Sandbox::User=root"]
        apt = ["apt-get", "-qq", *(word for o in options for word in ("-o", o))]
        subprocess.run([*apt, "update"], capture_output=True, check=False)
        if name.endswith(".deb"):
            query = ["download", "--print-uris", name.split("_")[0]]
        else:
            query = ["source", "--print-uris", "--tar-only", package]
        out = subprocess.run([*apt, *query], capture_output=True, text=True, check=False).stdout
    return {m[2]: m[1] for m in re.finditer(r"^'([^']+)' (\S+) ", out, re.M)}


def obtain(pool_path: str, digest: str, downloads: Path) -> Path:
    """The pinned file, downloaded unless it is already there. Raises SourcesError."""
    name = pool_path.rsplit("/", 1)[1]
    dest = downloads / name
    if dest.is_file() and sha256(dest) == digest:
        return dest
    if not Path(APT_HELPER).exists():
        raise SourcesError(f"This system has no apt, so {name} cannot be fetched.\n{WAY_OUT}")
    where = archives()
    if not where:
        raise SourcesError(f"No Debian archive (component main) is set up in /etc/apt.\n{WAY_OUT}")
    downloads.mkdir(parents=True, exist_ok=True)
    print(f"sources: downloading {name}", file=sys.stderr)
    if any(fetch(f"{a['uri'].rstrip('/')}/pool/main/{pool_path}", dest, digest) for a in where):
        return dest
    # Not in the pool under that name: ask the index, both for another place and for the message.
    instead: dict[str, str] = {}
    for archive in where:
        instead |= offered(archive, pool_path.split("/")[1], name)
    if name in instead and fetch(instead[name], dest, digest):
        return dest
    raise SourcesError(
        f"Debian's archive does not have the pinned source file any more (or it is unreachable):\n"
        f"    expected  {name}\n    SHA-256   {digest}\n"
        f"    offered   {', '.join(sorted(instead)) or 'nothing (no index could be read)'}\n"
        f"A newer version needs its pin in tools/sources.py changed, and testing.\n{WAY_OUT}"
    )


# --- unpack ---------------------------------------------------------------------------------


def unpack(archive: Path, dest: Path) -> None:
    dest.mkdir(parents=True, exist_ok=True)
    if archive.suffix != ".deb":
        subprocess.run(["tar", "-xf", archive, "-C", dest, "--strip-components=1"], check=True)
        return
    with tempfile.TemporaryDirectory(dir=dest.parent) as tmp:
        subprocess.run(["dpkg-deb", "-x", archive, tmp], check=True)
        (tree,) = Path(tmp, "usr/src").iterdir()
        dest.rmdir()
        tree.rename(dest)


def debian_tree(cache: Path) -> Path:
    """The unpacked tree, made when it is missing: complete or not there at all."""
    # The folder's name changes with any pin, so a stale tree is never taken for the right one.
    ident = hashlib.sha256(repr(PINS).encode()).hexdigest()[:8]
    tree = cache / f"src-{ident}"
    if tree.is_dir():
        return tree
    files = [obtain(path, digest, cache / "downloads") for path, digest, _ in PINS]
    print(f"sources: unpacking into {tree}", file=sys.stderr)
    tmp = Path(tempfile.mkdtemp(prefix="src-", dir=cache))
    try:
        for file, (_, _, folder) in zip(files, PINS, strict=True):
            unpack(file, tmp / folder)
        mpy = tmp / "micropython"
        # The makefiles only test that this README exists; our manifests use nothing of it.
        (mpy / "lib/micropython-lib/README.md").touch()
        # Debian's pico-sdk points at /usr/src here; MicroPython uses its own lib/tinyusb.
        (mpy / "lib/pico-sdk/lib/tinyusb").unlink(missing_ok=True)
        tmp.chmod(0o755)
        try:
            tmp.rename(tree)
        except OSError:
            if not tree.is_dir():  # else another build finished first: same content
                raise
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    return tree


# --- a user's own checkout ------------------------------------------------------------------


def check_checkout(mpy: Path) -> Path:
    """Refuse early, with words, what would fail in the middle of a build."""
    config = mpy / "py/mpconfig.h"
    if not config.is_file():
        raise SourcesError(f"MPY_DIR={mpy} is not a MicroPython checkout (no py/mpconfig.h).")
    text = config.read_text()
    version = []
    for part in ("MAJOR", "MINOR", "MICRO"):
        m = re.search(rf"#define MICROPY_VERSION_{part} (\d+)", text)
        if not m:
            raise SourcesError(f"MPY_DIR={mpy}: no MICROPY_VERSION_{part} in py/mpconfig.h.")
        version.append(int(m[1]))
    if tuple(version[:2]) < MINIMUM:
        have, need = ".".join(map(str, version)), ".".join(map(str, MINIMUM))
        raise SourcesError(f"MPY_DIR={mpy} is MicroPython {have}; {need} or newer is needed.")
    for sub in ("micropython-lib/README.md", "mbedtls/library", "pico-sdk/src", "tinyusb/src"):
        if not (mpy / "lib" / sub).exists():
            raise SourcesError(
                f"MPY_DIR={mpy}: lib/{sub.split('/')[0]} is empty. Fill the submodules:\n"
                f"    make -C {mpy}/ports/unix submodules\n"
                f"    make -C {mpy}/ports/rp2 BOARD=RPI_PICO submodules"
            )
    return mpy


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="FILE", help="also put the paths into FILE")
    args = parser.parse_args()
    try:
        if os.environ.get("MPY_DIR"):
            paths = [check_checkout(Path(os.environ["MPY_DIR"]).expanduser().resolve())]
        else:
            cache = cache_dir()
            cache.mkdir(parents=True, exist_ok=True)
            tree = debian_tree(cache)
            paths = [tree / "micropython", tree / "picotool"]
    except SourcesError as e:
        print(f"sources: {e}", file=sys.stderr)
        return 1
    text = "".join(f"{path}\n" for path in paths)
    if args.write is None:
        print(text, end="")
    elif not args.write.is_file() or args.write.read_text() != text:
        args.write.parent.mkdir(parents=True, exist_ok=True)
        args.write.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
