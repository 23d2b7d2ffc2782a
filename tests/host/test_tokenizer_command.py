"""`mcpgw tokenizer`: what it prints and writes, and a line for what is wrong."""

import contextlib
import os
import pty
import re
import subprocess
import sys

import pytest
from mcpgw import cli
from mcpgw.tokenizer.core import Core

TEXT = "The pump hums. The pump knocks. The pump stops and the pump starts.\n" * 40
# As an installation has it that did without the packages for converting.
BARE = """
import sys
from mcpgw.cli import OPTIONAL, main
sys.modules.update(dict.fromkeys(OPTIONAL))
main()
"""


def mcpgw(capsys, *args, code=0):
    """(stdout, stderr) of the command, run in this process."""
    with pytest.raises(SystemExit) as end:
        cli.main(["tokenizer", *map(str, args)])
    out, err = capsys.readouterr()
    assert end.value.code == code, err
    return out, err


@pytest.fixture
def folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "none.bin").write_bytes(b"")
    (tmp_path / "words.json").write_text("{}")
    args = ("train", "text.txt", "-o", "words.mgt", "--size", 300, "--json", "words.json")
    out, _ = mcpgw(capsys, *args)
    assert out.startswith("words.mgt: ")
    return tmp_path


def test_train_convert_and_use(folder, capsys):
    mcpgw(capsys, "convert", "words.json", "-o", "again.mgt")
    assert (folder / "again.mgt").read_bytes() == (folder / "words.mgt").read_bytes()
    ids, _ = mcpgw(capsys, "encode", "words.mgt", "The pump sings")
    wanted = Core((folder / "words.mgt").read_bytes()).encode(b"The pump sings", 0)
    assert ids.split() == [str(id) for id in wanted]
    count, _ = mcpgw(capsys, "count", "words.mgt", "The pump sings")
    assert int(count) == len(wanted) < len("The pump sings")
    text, _ = mcpgw(capsys, "decode", "words.mgt", *ids.split())
    assert text == "The pump sings\n"
    shown, _ = mcpgw(capsys, "inspect", "words.mgt")
    assert re.search(r"^split +gpt2$", shown, re.M)


def test_special_tokens_and_standard_input(folder, capsys, monkeypatch):
    args = ("train", "text.txt", "-o", "end.mgt", "--size", 300, "--special", "<|end|>")
    mcpgw(capsys, *args)
    shown, _ = mcpgw(capsys, "inspect", "end.mgt", "--tokens")
    (end,) = re.findall(r"^special +'<\|end\|>' (\d+)$", shown, re.M)
    assert re.search(rf"^ +{end} '<\|end\|>'$", shown, re.M)
    text = "The pump.<|end|>"
    plain, _ = mcpgw(capsys, "encode", "end.mgt", text)
    assert end not in plain.split()
    ids, _ = mcpgw(capsys, "encode", "end.mgt", text, "--special")
    assert ids.split() == [*plain.split()[: len(ids.split()) - 1], end]
    (folder / "in.txt").write_text(text)
    with open(folder / "in.txt") as file:
        monkeypatch.setattr("sys.stdin", file)
        count, _ = mcpgw(capsys, "count", "end.mgt", "-", "--special")
    assert int(count) == len(ids.split())


@pytest.mark.parametrize(
    "args, what",
    [
        (["convert", "text.txt", "-o", "a.mgt"], "text.txt: no tokenizer.json, and no llama2.c"),
        (["convert", "none.bin", "-o", "a.mgt"], "none.bin: .*there is no token in it"),
        (["convert", "words.mgt", "-o", "a.mgt"], "words.mgt: it is a .mgt file already"),
        (["convert", "words.json", "-o", "words.json"], "words.json is read and cannot be"),
        (["convert", "words.json", "-o", "no/a.mgt"], "there is no folder no"),
        (["convert", "words.json", "-o", "."], "is a folder"),
        (["train", "empty.txt", "-o", "a.mgt"], "there is no text to train from"),
        (["train", "text.txt", "-o", "text.txt"], "text.txt is read and cannot be written over"),
        (["train", "text.txt", "-o", "a.mgt", "--json", "no/a.json"], "there is no folder no"),
        (["train", "text.txt", "-o", "a.mgt", "--size", "10"], "at least 257 tokens"),
        (["inspect", "text.txt"], r"text.txt: .* \(at offset"),
        (["decode", "words.mgt", "300000"], "no token 300000"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(args, what, folder, capsys):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    out, err = mcpgw(capsys, *args, code=1)
    assert err.startswith("mcpgw: ") and err.count("\n") == 1 and out == ""
    assert re.search(what, err), err
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_training_says_on_a_terminal_how_far_it_is(folder):
    command = [sys.executable, "-m", "mcpgw.cli", "tokenizer", "train", "text.txt", "-o", "b.mgt"]
    here, terminal = pty.openpty()
    process = subprocess.Popen(command, stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = b""
    # The end of a terminal is an error.
    with contextlib.suppress(OSError):
        while part := os.read(here, 65536):
            shown += part
    os.close(here)
    assert process.wait() == 0 and b"merges" in shown and b"b.mgt: " in shown, shown
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("b.mgt: ") and done.stderr == ""


def test_without_the_packages_for_converting(folder):
    def run(*args):
        command = [sys.executable, "-c", BARE, *args]
        return subprocess.run(command, capture_output=True, text=True, cwd=folder)

    done = run("--help")
    assert done.returncode == 0 and "tokenizer" in done.stdout, done.stderr
    done = run("tokenizer", "count", "words.mgt", "The pump")
    assert done.returncode == 0 and int(done.stdout) > 0, done.stderr
    done = run("tokenizer", "convert", "words.json", "-o", "b.mgt")
    assert done.stderr == "mcpgw: numpy is not installed: pip install 'mcpgw[convert]'\n"
    assert done.returncode == 1 and not (folder / "b.mgt").exists()
