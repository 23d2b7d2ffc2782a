"""mcp-edge.toml on this side of the wire: every error is told with its line, whatever the file is,
and what is accepted comes back from its compiled form as it was."""

import json
import tomllib

import pytest
import soak
from hypothesis import given, settings
from hypothesis import strategies as st
from mcpgw import UserError
from mcpgw.cli import main
from mcpgw.edge import compiled, fields, places, table
from mcpgw.edge.onboard import EdgeFiles
from targets import ROOT

from mcp_gw import edge

odd = settings(max_examples=soak.count(100, 3000), deadline=None)

EXAMPLE = ROOT / "examples" / "mcp-edge.toml"

# (text, line, part of the message): one mistake each.
WRONG = [
    ("[bord]\nname = 'x'", 1, "no section bord, did you mean board?"),
    ("name = 'x'", 1, "no key outside of sections name"),
    ("board = 3", 1, "board is a section: write [board]"),
    ("[board]\n\nnam = 'x'", 3, "[board] has no key nam, did you mean name?"),
    ("[board]\nzzz = 1", 2, "[board] has no key zzz; known are: name, id, serve"),
    ("[board]\nname = 3", 2, "name in [board] must be text in quotes, not a whole number"),
    ("[board]\nname = 'a b'", 2, "name in [board] is wrong: 1 to 64 of A-Z a-z 0-9 _ -"),
    ("[board]\nname = ''", 2, "must have 1 to 64 bytes, not 0"),
    ("[board]\nserve = ['serial', 'htp']", 2, "serve in [board] has no 'htp', did you mean http?"),
    ("[board]\nserve = ['http']", 2, "there is no section [http]"),
    ("[board]\nserve = []", 2, "serve in [board] must not be empty"),
    ("[settings]\n# x\nmax_depth = 500", 3, "max_depth in [settings] must be from 4 to 128"),
    ("[settings]\nmax_depth = 9.0", 2, "from 4 to 128, not a number with a fraction"),
    ("[settings]\nmax_depth = true", 2, "not true or false"),
    ("[settings]\nmax_dept = 9", 2, "did you mean max_depth?"),
    ("[wifi]\npassword = '12345678'", 1, "[wifi] needs a key ssid"),
    ("[wifi]\nssid = 's'\npassword = 'secret!'", 3, "must have 8 to 63 bytes, not 7"),
    ("[wifi]\nssid = 's'\ncountry = 'de'", 3, "two capital letters"),
    ("[wifi]\nssid = 'a\\tb'\nssid2 = 1", 3, "has no key ssid2, did you mean ssid?"),
    ("[http]\nport = 70000", 2, "port in [http] must be from 1 to 65535, not 70000"),
    ("[http]\nhost = '0.0.0.0'", 2, "lets others in: give a token"),
    ("[http]\ntoken = ['ok', 'not ok']", 2, "a token consists of letters"),
    ("[http]\ncert = '/c.pem'", 1, "cert and key in [http] go together"),
    ("[http]\nclient_ca = '/c.pem'", 2, "needs cert and key"),
    ("[upstreams]\nurl = 'http://a/'", 2, "url belongs into a section [upstreams.NAME]"),
    ("[upstreams.'a b']\n", 1, "'a b' is no name"),
    ("[upstreams.pi]\nurl = 'pi.local'", 2, "url in [upstreams.pi] is wrong: a URL begins with"),
    ("[upstreams.pi]\nurl = 'http://u:p@a/'", 2, "credentials in a URL"),
    ("[upstreams.pi]\nurl = 'https://a/'", 2, "needs ca"),
    ("[upstreams.pi]\ntoken = 'x'", 2, "token in [upstreams.pi] needs a url"),
    (
        "[upstreams.pi]\nurl = 'http://a'\ntoken = 'x'\nheaders = {authorization = 'y'}",
        3,
        "a token and a header Authorization",
    ),
    ("[upstreams.pi]\nqueueable = 'log'", 2, "must be a list of texts, not text"),
    ("[upstreams.pi]\nqueueable = [1]", 2, "must be a list of texts, not a list"),
    ("[upstreams.pi]\noffers = ['tool']", 2, "did you mean tools?"),
    ("[upstreams.a.queueable.set]\nprio = 2", 2, "has no key prio, did you mean priority?"),
    ("[upstreams.a.queueable.set]\npolicy = 'latest'", 2, "needs a key"),
    ("[upstreams.a.queueable]\nset = 3", 2, "upstreams.a.queueable.set is a section"),
    ("[queue]\nbytes = 16384", 2, "bytes in [queue] is not for device flash"),
    ("[queue]\ndevice = 'spi'", 2, "device spi in [queue] needs a cs"),
    ("[queue]\ndevice = 'spi'\ncs = 256", 3, "cs in [queue] must be from 0 to 255, not 256"),
    ("[queue]\ndevice = 'spi'\ncs = true", 3, "a pin's number, or its name in quotes, not true"),
    ("[queue]\ndevice = 'ram'\nbytes = 16385", 3, "multiple of 4096"),
    ("[queue]\ndevice = 'file'\n", 2, "device file in [queue] needs a path"),
    ("[time]\nsntp = 'a'", 2, "must be a list of texts, not text"),
    ("[time]\nsntp = ['http://a']", 2, "a host name or an address"),
    ("[time]\nevery_s = 5", 2, "from 64 to"),
    ("[dial_out]\nport = 1", 1, "[dial_out] needs a key host"),
    ("[dial_out]\nhost = 'a b'", 2, "a host name or an address"),
    ("[routing]\nstrategy = 'best'", 2, "strategy is one of order, complexity"),
    ("[routing]\nstrateg = 'order'", 2, "did you mean strategy?"),
    ("[routing.tools.a]\nmin_battery = 2", 2, "min_battery is a number from 0 to 1"),
    ("[routing.tools.a]\nonli = 'pi'", 2, "did you mean only?"),
    ("[routing.upstreams.pi]\n\nmax_requests = 0", 3, "max_requests is a number from 1"),
    ("[routing]\nweights = {speed = 1}", 2, "weights is a table"),
    ("routing = 1", 1, "write [routing]"),
    ("[board\n", 1, "Expected ']'"),
    ("[board]\nname = 'x'\nname = 'y'", 3, "overwrite"),
    ("[board]\nname = 'x", 2, ""),
    ("a = " + "[" * 2000 + "]" * 2000, 0, "nested too deeply"),
    ("a = " + "1" * 5000, 0, ""),
]


@pytest.mark.parametrize(("text", "line", "part"), WRONG, ids=range(len(WRONG)))
def test_an_error_says_where_and_what(text, line, part):
    with pytest.raises(fields.ConfigFileError) as caught:
        compiled.check_text(text, "f.toml")
    (problem,) = caught.value.problems
    assert part in problem
    assert problem.startswith(f"f.toml:{line}: " if line else "f.toml:"), problem
    assert "\n" not in problem


def test_all_errors_are_told_in_the_order_of_their_lines():
    text = "\n".join(text for text, line, _ in WRONG[3:4] + WRONG[11:12])
    with pytest.raises(fields.ConfigFileError) as caught:
        compiled.check_text(text, "f.toml")
    assert [p.split(":")[1] for p in caught.value.problems] == ["3", "6"]


def test_nothing_secret_is_told():
    for text in (
        "[wifi]\nssid = 's'\npassword = 'hunter2'",
        "[http]\ntoken = 'hunter2 hunter2'",
        "[upstreams.pi]\nurl = 'http://a'\ntoken = ['hunter2']",
        "[upstreams.pi]\nurl = 'http://a'\nheaders = {A = \"hunter2\\nB\"}",
    ):
        with pytest.raises(fields.ConfigFileError) as caught:
            compiled.check_text(text)
        assert "hunter2" not in str(caught.value.problems)


def test_files_that_are_no_text(tmp_path):
    path = tmp_path / "mcp-edge.toml"
    for data, part in (
        (b"[board]\nname = '\xff'", ":2: not UTF-8"),
        (b"#" * (fields.MAX_FILE + 1), "longer than 65536 bytes"),
        (b"[board]\x00", ":1: "),
    ):
        path.write_bytes(data)
        with pytest.raises(fields.ConfigFileError, match=part):
            compiled.check_file(path)
    path.write_bytes(b"#" * fields.MAX_FILE)
    assert compiled.check_file(path) == {}
    with pytest.raises(fields.ConfigFileError, match="cannot be read"):
        compiled.check_file(tmp_path)


def test_what_a_board_could_not_read_is_refused():
    row = "[upstreams.a%d]\nurl = 'http://127.0.0.1/%s'\n"
    text = "".join(row % (n, "x" * 300) for n in range(16))
    with pytest.raises(fields.ConfigFileError, match="a board reads 4096 at most"):
        compiled.check_text(text)
    with pytest.raises(fields.ConfigFileError, match="17 upstreams; a board takes 16"):
        compiled.check_text("".join(f"[upstreams.a{n}]\n" for n in range(17)))


def test_the_sections_of_the_pi_are_left_to_it():
    text = "[pi]\nname = 'x'\n[servers.a]\nurl = 'q'\n[boards.b]\n[board]\nname = 'y'\n"
    assert compiled.check_text(text) == {"board": {"name": "y"}}


def test_secrets_are_hidden_unless_asked_for():
    found = compiled.check_file(EXAMPLE)
    shown = compiled.to_toml(compiled.hidden(found))
    secrets = [found["wifi"]["password"], *found["http"]["token"], found["dial_out"]["token"]]
    secrets += [found["dial_out"]["code"], found["upstreams"]["cloud"]["token"]]
    for secret in secrets:
        assert secret in compiled.to_toml(found)
        assert secret not in shown
    assert '{Accept-Language = "(hidden)"}' in shown and '{"(hidden)" = "phone"}' in shown
    lists = compiled.hidden({"http": {"token": ["a", "b"]}})
    assert lists == {"http": {"token": [compiled.HIDDEN] * 2}}


def test_the_example_has_every_key_and_survives_the_way_to_a_board_and_back():
    found = compiled.check_file(EXAMPLE)
    for section, (_, known, _) in table.SECTIONS.items():
        rows = found[section].values() if section in table.NAMED else [found[section]]
        have = {key for row in rows for key in row}
        if section == "queue":
            have |= set(compiled._DEVICES["spi"][0])  # one device at a time
        missing = set(known) - have
        # Settings are many; of the rest the example shows all.
        assert section == "settings" or not missing, (section, missing)
    data = compiled.compile_config(found)
    assert compiled.read_compiled(data) == found
    assert compiled.check_text(compiled.to_toml(found)) == found


# --- whatever the file is ------------------------------------------------------------------------

_KEYS = st.sampled_from(
    [*table.SECTIONS, "pi", "routing", "a b", "x.y", "", "ü", '"', "\\"]
    + [key for _, known, _ in table.SECTIONS.values() for key in known][::3]
)
_VALUES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(codec="utf-8"), max_size=20),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(_KEYS, inner, max_size=4)
    ),
    max_leaves=12,
)


@odd
@given(st.dictionaries(_KEYS, st.dictionaries(_KEYS, _VALUES, max_size=6), max_size=6))
def test_no_table_breaks_the_checker(found):
    text = as_toml(found)
    assert tomllib.loads(text) == found
    try:
        good = compiled.check_text(text, "f.toml")
    except fields.ConfigFileError as e:
        lines = text.count("\n") + 1
        for problem in e.problems:
            assert problem.startswith("f.toml:") and "\n" not in problem
            number = problem.split(":")[1]
            assert not number.isdigit() or 1 <= int(number) <= lines
    else:
        assert compiled.read_compiled(compiled.compile_config(good)) == good
        assert compiled.check_text(compiled.to_toml(good)) == good


def as_toml(found):
    """TOML text of any table of tables; keys and texts as basic strings."""
    return "".join(
        f"[{text_of(name)}]\n"
        + "".join(f"{text_of(key)} = {value_of(value)}\n" for key, value in rows.items())
        for name, rows in found.items()
    )


def text_of(text):
    return json.dumps(text)[1:-1].join('""') if text.isascii() else quoted(text)


def quoted(text):
    return (
        '"'
        + "".join(f"\\U{ord(c):08X}" if ord(c) > 126 else json.dumps(c)[1:-1] for c in text)
        + '"'
    )


def value_of(value):
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(value_of, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{text_of(k)} = {value_of(v)}" for k, v in value.items()) + "}"
    if isinstance(value, float):
        return repr(value) if "." in repr(value) or "e" in repr(value) else f"{value}.0"
    return str(value).lower()


@odd
@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(raw):
    try:
        document = fields.parse_document(raw, "f.toml")
    except fields.ConfigFileError as e:
        assert str(e).startswith("f.toml")
    else:
        assert document.data == tomllib.loads(raw.decode())


_PIECES = st.sampled_from(
    ["[", "]", "[[", "]]", "a", "b", ".", "=", '"', "'", '"""', "'''", "{", "}", ",", "#", "\n"]
    + ["1", "true", "\\", " ", "\t", "\r\n", "[a]\n", "a = 1\n", "b.c = {d = 1}\n", "é"]
)


@odd
@given(st.lists(_PIECES, max_size=25).map("".join))
def test_every_key_that_is_read_has_a_line(text):
    try:
        found = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return
    lines = places.places(text)
    last = text.count("\n") + 1

    def look(value, at):
        rows = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in rows:
            assert 1 <= lines[(*at, key)] <= last, (text, at, key)
            if isinstance(inner, (dict, list)):
                look(inner, (*at, key))

    look(found, ())


def test_lines_are_those_of_the_keys():
    text = (
        '# "x" = [\n[a]\nb = """\n[c]\nd = 1\n"""\n"e.f" = [\n 1, # ]\n {g = 1},\n]\n'
        "\n[[h]]\ni = 1\n[[h]]\n\ni = '''x''''\n[h.j]\nk.l = 2\n"
    )
    found = places.places(text)
    expected = {
        ("a",): 2,
        ("a", "b"): 3,
        ("a", "e.f"): 7,
        ("a", "e.f", 0): 8,
        ("a", "e.f", 1): 9,
        ("a", "e.f", 1, "g"): 9,
        ("h",): 12,
        ("h", 0): 12,
        ("h", 0, "i"): 13,
        ("h", 1): 14,
        ("h", 1, "i"): 16,
        ("h", 1, "j"): 17,
        ("h", 1, "j", "k"): 18,
        ("h", 1, "j", "k", "l"): 18,
    }
    assert found == expected


# --- the command ---------------------------------------------------------------------------------


def mcpgw(capsys, *arguments):
    with pytest.raises(SystemExit) as done:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return done.value.code, out, err


def test_config_check(capsys, tmp_path):
    code, out, err = mcpgw(capsys, "config", "check", EXAMPLE)
    assert code == 0 and "fine (board, " in out, err
    path = tmp_path / "mcp-edge.toml"
    path.write_text("[board]\nnam = 'x'\n[settings]\nmax_depth = 1\n")
    code, out, err = mcpgw(capsys, "config", "check", path)
    first, second, last = err.splitlines()
    assert code == 1 and first == f"{path}:2: [board] has no key nam, did you mean name?"
    assert second.startswith(f"{path}:4: max_depth") and last == f"mcpgw: {path}: 2 errors"


def test_config_check_writes_what_a_board_reads(capsys, tmp_path):
    toml, out = tmp_path / "mcp-edge.toml", tmp_path / "mcp-edge.json"
    toml.write_text("[board]\nname = 'bed'\n")
    code, said, err = mcpgw(capsys, "config", "check", toml, "-o", out)
    assert code == 0 and said.endswith(f"wrote {out}\n"), err
    assert compiled.read_compiled(out.read_bytes()) == {"board": {"name": "bed"}}
    code, _, err = mcpgw(capsys, "config", "check", toml, "-o", toml)
    assert code == 1 and "cannot be written over" in err


def test_config_check_looks_at_the_sections_of_the_pi_too(capsys, tmp_path):
    path = tmp_path / "mcp-edge.toml"
    path.write_text("[pi]\nname = 'hall'\n\n[board]\nname = 'bed'\n[dial]\nport = 8444\n")
    code, out, err = mcpgw(capsys, "config", "check", path)
    assert code == 0 and out.endswith("on a board; of the Pi: pi, dial)\n"), err
    path.write_text("[board]\nname = 'bed'\n[pi]\nnam = 'hall'\n")
    code, out, err = mcpgw(capsys, "config", "check", path)
    assert code == 1 and f"{path}:4: pi.nam: is not known here; did you mean name?" in err


class Remote:
    """A board that says this of itself."""

    port = "COM9"

    def __init__(self, **about):
        self._about = {"mcp_gw": "0.1.0", "edge": True, "network": False, "wifi": False, **about}

    def exec(self, code):
        """It does."""

    def ask(self, expression):
        return self._about if expression == "about()" else None


def test_boards_that_cannot_be_configured():
    with pytest.raises(UserError, match=r"COM9 has no mcp_gw: flash its firmware first"):
        EdgeFiles(Remote(mcp_gw=None))
    with pytest.raises(UserError, match=r"mcp_gw 0\.0\.9 on COM9 is too old"):
        EdgeFiles(Remote(mcp_gw="0.0.9", edge=False))
    files = EdgeFiles(Remote(network=True))
    files.fit(compiled.check_text("[time]\nsntp = ['10.0.0.1']"))
    with pytest.raises(UserError, match=r"no Wi-Fi, which \[wifi\] would need"):
        files.fit({"wifi": {"ssid": "s"}})
    with pytest.raises(UserError, match=r"no network, which \[time\] would need"):
        EdgeFiles(Remote()).fit({"time": {"sntp": ["10.0.0.1"]}})


def test_the_board_reads_no_more_and_no_less():
    """The longest file that the checker lets through is read by the board's code, not one byte
    more."""
    found = compiled.check_text("[upstreams.a]\nurl = 'http://a/'\n")
    found["upstreams"]["a"]["url"] += "x" * (edge.MAX_FILE - len(compiled.compile_config(found)))
    assert edge.parse(compiled.compile_config(found))
    found["upstreams"]["a"]["url"] += "x"
    with pytest.raises(ValueError, match="longer than 4096"):
        edge.parse(compiled.compile_config(found))
