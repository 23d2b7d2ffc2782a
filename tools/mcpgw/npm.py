"""Packages from npm, in the user's cache and not in the source tree."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import platformdirs

from . import UserError

MANIFESTS = ("package.json", "package-lock.json")


class NpmError(UserError):
    """npm is missing or failed."""


def cache_dir():
    """The directory for downloads; the environment's MCPGW_CACHE names another."""
    return Path(os.environ.get("MCPGW_CACHE") or platformdirs.user_cache_dir("mcpgw"))


def program(name):
    """The path of a program of Node.js. Raises NpmError."""
    found = shutil.which(name)
    if not found:
        raise NpmError(
            f"{name} is not on this machine: install Node.js (Debian: apt install nodejs npm)"
        )
    return found


def install(manifests, home, extra=None):
    """Put the packages that the lock file in the folder `manifests` pins into home/node_modules.

    No package's install script runs. home appears when everything is in it, so that whoever finds
    it finds it whole. extra: {file name: bytes} to lay beside. Raises NpmError.
    """
    npm = program("npm")
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="npm-") as scratch:
        for name in MANIFESTS:
            shutil.copy(Path(manifests) / name, scratch)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
        if done.returncode:
            raise NpmError(f"npm could not install {manifests}:\n{done.stderr.strip()}")
        for name, data in (extra or {}).items():
            (Path(scratch) / name).write_bytes(data)
        try:
            os.rename(scratch, home)
        except OSError:
            if not all((home / name).exists() for name in (*MANIFESTS, *(extra or {}))):
                raise  # else somebody else was faster
        os.makedirs(scratch, exist_ok=True)  # for the context manager to remove
