"""Pages that are made from code are up to date, and links between pages lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from targets import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("name", ["protocol_page.py", "configuration_page.py"])
def test_a_page_is_what_the_code_says(name):
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / name, "--check"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def anchors(page):
    """The anchors of a page's headings, as the usual renderers make them."""
    for line in re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.exists(), target
        if anchor:
            assert anchor in set(anchors(Path(found))), target
