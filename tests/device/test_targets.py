"""The targets themselves: a script's output, errors and time-out come back as they should."""

import pytest
import targets
from waiting import PATIENCE_S


def test_output(target):
    assert target.run("for i in range(3):\n    print('line', i)") == "line 0\nline 1\nline 2\n"


def test_much_output(target):
    assert target.run("for i in range(200):\n    print('%04d' % i * 50)") == "".join(
        f"{i:04}" * 50 + "\n" for i in range(200)
    )


def test_long_script(target):
    lines = 3000 * "# a comment that has to go through the console\n"
    assert target.run(f"{lines}print('end')") == "end\n"


def test_script_file(target, tmp_path):
    file = tmp_path / "script.py"
    file.write_text("print('from a file')")
    assert target.run(file) == "from a file\n"


def test_each_run_starts_afresh(target):
    target.run("import sys\nsys.modules['left'] = 1\nleft = 1")
    assert target.run("import sys\nprint('left' in sys.modules, 'left' in globals())") == (
        "False False\n"
    )


def test_frozen_package(target):
    """Device tests run what was frozen into the firmware."""
    out = target.run("import mcp_gw\nprint(mcp_gw.__file__)")
    assert "/" not in out.replace("mcp_gw/__init__", ""), out


def test_exception(target):
    with pytest.raises(targets.TargetError, match="(?s)before.*ZeroDivisionError"):
        target.run("print('before')\n1 / 0")


def test_syntax_error(target):
    with pytest.raises(targets.TargetError, match="SyntaxError"):
        target.run("x = = 2\n" + "y = 1\n" * 200)


def test_timeout(target):
    for timeout in (8, 40, PATIENCE_S):  # the first is enough, unless this machine is busy
        with pytest.raises(targets.TargetError) as raised:
            target.run("print('before')\nwhile True:\n    pass", timeout=timeout)
        if "before" in str(raised.value):
            break
    assert "before" in str(raised.value)
    assert target.run("print('alive')") == "alive\n"
