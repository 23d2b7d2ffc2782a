"""tools/sources.py: which archives it finds, what it refuses, that nothing unchecked is used."""

import hashlib
import importlib.util
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("sources", ROOT / "tools/sources.py")
sources = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sources)

DEB822 = """\
# a comment
Types: deb
# a comment inside
URIs: http://one.example/debian http://two.example/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://vendor.example/
Suites: nodistro
Components: extra
"""
ONE_LINE = """\
# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/k.gpg] http://three.example/debian bookworm main
deb-src http://source.example/debian bookworm main
deb http://three.example/debian-security bookworm-security main
deb http://flat.example/ ./
"""


def apt_folder(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(ONE_LINE)
    (tmp_path / "sources.list.d/debian.sources").write_text(DEB822)
    (tmp_path / "sources.list.d/old.sources.bak").write_text(DEB822)
    return tmp_path


def test_the_main_archives_of_both_formats_are_found(tmp_path):
    found = sources.archives(apt_folder(tmp_path))
    assert [a["uri"] for a in found] == [
        "http://three.example/debian",
        "http://one.example/debian",
        "http://two.example/debian/",
    ]
    assert found[0]["signed-by"] == "/usr/share/keyrings/k.gpg"
    assert found[1]["signed-by"].startswith("\n -----BEGIN")


@pytest.fixture
def fake_apt(tmp_path, monkeypatch):
    """An apt-helper that copies file:// URIs, and a machine with one archive: tmp_path/debian."""
    helper = tmp_path / "apt-helper"
    helper.write_text(
        "#!/bin/sh\n"
        'while [ "$1" != download-file ]; do shift; done\n'
        'echo "$2" >> "$(dirname "$0")/asked"\n'
        'exec cp "${2#file://}" "$3"\n'
    )
    helper.chmod(0o755)
    archive = {"uri": f"file://{tmp_path}/debian", "components": "main"}
    monkeypatch.setattr(sources, "APT_HELPER", str(helper))
    monkeypatch.setattr(sources, "archives", lambda: [archive])
    monkeypatch.setattr(sources, "offered", lambda *_: {"lib_9.orig.tar.xz": "file:///nowhere"})
    pool = tmp_path / "debian/pool/main/l/lib"
    pool.mkdir(parents=True)
    return pool / "lib_1.orig.tar.xz"


def digest(data):
    return hashlib.sha256(data).hexdigest()


def test_a_file_is_downloaded_once_and_kept(tmp_path, fake_apt):
    fake_apt.write_bytes(b"right")
    pin = ("l/lib/lib_1.orig.tar.xz", digest(b"right"))
    for _ in range(2):
        path = sources.obtain(*pin, tmp_path / "downloads")
        assert path.read_bytes() == b"right"
    assert (tmp_path / "asked").read_text().count("\n") == 1
    path.write_bytes(b"spoilt")  # in the cache: fetched again
    assert sources.obtain(*pin, tmp_path / "downloads").read_bytes() == b"right"


def test_a_file_with_another_content_is_refused_with_words(tmp_path, fake_apt):
    fake_apt.write_bytes(b"wrong")
    with pytest.raises(sources.SourcesError) as e:
        sources.obtain("l/lib/lib_1.orig.tar.xz", digest(b"right"), tmp_path / "downloads")
    text = str(e.value)
    for word in ("lib_1.orig.tar.xz", digest(b"right"), "lib_9.orig.tar.xz", "MPY_DIR="):
        assert word in text
    assert list((tmp_path / "downloads").iterdir()) == []


def test_without_apt_the_message_names_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "APT_HELPER", "/nowhere/apt-helper")
    with pytest.raises(sources.SourcesError, match="MPY_DIR="):
        sources.obtain("l/lib/lib_1.orig.tar.xz", "0" * 64, tmp_path)


def checkout(folder, version):
    (folder / "py").mkdir(parents=True)
    names = ("MAJOR", "MINOR", "MICRO")
    lines = [f"#define MICROPY_VERSION_{n} {v}" for n, v in zip(names, version, strict=True)]
    (folder / "py/mpconfig.h").write_text("\n".join(lines))
    for sub in ("mbedtls/library", "pico-sdk/src", "tinyusb/src", "micropython-lib"):
        (folder / "lib" / sub).mkdir(parents=True)
    (folder / "lib/micropython-lib/README.md").touch()
    return folder


def test_a_users_own_checkout_is_checked_before_it_is_used(tmp_path):
    good = checkout(tmp_path / "good", (1, 26, 0))
    assert sources.check_checkout(good) == good
    with pytest.raises(sources.SourcesError, match="1.24.1; 1.25 or newer"):
        sources.check_checkout(checkout(tmp_path / "old", (1, 24, 1)))
    with pytest.raises(sources.SourcesError, match="not a MicroPython checkout"):
        sources.check_checkout(tmp_path)
    (good / "lib/micropython-lib/README.md").unlink()
    with pytest.raises(sources.SourcesError, match="submodules"):
        sources.check_checkout(good)


def c_modules(dest, *folders):
    command = ["python3", str(ROOT / "tools/c_modules.py"), str(dest), *map(str, folders)]
    return subprocess.run(command, capture_output=True, text=True)


def module(folder):
    folder.mkdir(parents=True)
    for name in ("micropython.mk", "micropython.cmake"):
        (folder / name).touch()
    return folder


def test_c_modules_of_several_folders_are_gathered(tmp_path):
    ours = module(tmp_path / "ours/scan").parent
    (tmp_path / "ours/notes").mkdir()  # no module
    alone = module(tmp_path / "alone")
    dest = tmp_path / "all"
    assert c_modules(dest, ours, alone).returncode == 0
    assert sorted(p.name for p in dest.iterdir() if p.is_symlink()) == ["alone", "scan"]
    text = (dest / "micropython.cmake").read_text()
    assert "/scan/micropython.cmake" in text and "/alone/micropython.cmake" in text
    before = (dest / "list").stat().st_mtime_ns
    c_modules(dest, ours, alone)
    assert (dest / "list").stat().st_mtime_ns == before  # so that nothing is rebuilt
    c_modules(dest, ours)
    assert not (dest / "alone").exists()


def test_two_c_modules_of_one_name_are_refused(tmp_path):
    a, b = module(tmp_path / "a/scan").parent, module(tmp_path / "b/scan").parent
    done = c_modules(tmp_path / "all", a, b)
    assert done.returncode != 0 and "same name" in done.stderr
