"""The demo's story, told once more as a test."""

import subprocess
import sys

from targets import ROOT, firmware


def test_the_story(tmp_path):
    firmware("pico")
    command = [sys.executable, str(ROOT / "tools" / "demo.py"), "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert "23 checks passed, 0 failed" in done.stdout, done.stdout[-3000:]
