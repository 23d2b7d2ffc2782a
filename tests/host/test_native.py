"""The C cores as a shared library: compiled when a source has changed, and by pip."""

import ctypes
import runpy
import shutil

import pytest
import setuptools
from mcpgw import UserError, native
from setuptools.command.build_ext import build_ext
from targets import ROOT

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "c_modules" / "twice"
    folder.mkdir(parents=True)
    (folder / "twice.h").write_text("int twice(int x);\n")
    (folder / "twice.c").write_text('#include "twice.h"\nint twice(int x) { return 2 * x; }\n')
    (folder / "twice_mod.c").write_text("#error a binding\n")
    return tmp_path


@needs_compiler
def test_compiled_when_a_source_has_changed(tree):
    first = native._compile(tree)
    assert ctypes.CDLL(str(first)).twice(21) == 42
    made = first.stat().st_mtime_ns
    assert native._compile(tree) == first
    assert first.stat().st_mtime_ns == made
    (tree / "c_modules" / "twice" / "twice.h").write_text("int twice(int x);\nint more;\n")
    assert native._compile(tree) != first
    assert sorted(f.suffix for f in first.parent.iterdir()) == [".so", ".so"]


@needs_compiler
def test_what_does_not_compile(tree):
    (tree / "c_modules" / "twice" / "twice.c").write_text("nonsense\n")
    with pytest.raises(UserError, match="do not compile"):
        native._compile(tree)
    assert list((tree / "build/host/cores").iterdir()) == []


def test_without_a_compiler(tree, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="no C compiler"):
        native._compile(tree)


@needs_compiler
def test_the_extension_of_an_installed_package(tmp_path, monkeypatch):
    """What setup.py describes compiles to a library that has the cores in it."""
    made = []
    monkeypatch.setattr(setuptools, "setup", lambda ext_modules: made.extend(ext_modules))
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    command = build_ext(setuptools.Distribution({"name": "mcpgw", "ext_modules": made}))
    command.build_lib, command.build_temp = str(tmp_path / "lib"), str(tmp_path / "temp")
    command.ensure_finalized()
    command.run()
    (library,) = (tmp_path / "lib" / "mcpgw").iterdir()
    assert library.name.startswith("_cores")
    assert ctypes.CDLL(str(library)).qnn_open
