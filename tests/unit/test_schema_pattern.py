"""Patterns: ECMA-262 regular expressions, the same on every port."""

from mcp_gw.errors import ConfigError
from mcp_gw.pattern import MAX_SIZE, Pattern, compiled

# pattern, texts in which it is found, texts in which it is not.
TABLE = (
    ("", ("", "x"), ()),
    ("a", ("a", "bab"), ("", "b", "A")),
    ("^a", ("a", "ab"), ("ba", "")),
    ("a$", ("a", "ba"), ("ab", "a\n")),
    ("^$", ("",), ("a", "\n")),
    ("^a|b$", ("ax", "xb"), ("xa", "bx")),
    ("^(a|b|cd)$", ("a", "b", "cd"), ("c", "ab", "")),
    ("^(|a)b$", ("b", "ab"), ("aab", "a")),
    ("^a*$", ("", "aaa"), ("ab",)),
    ("^a+$", ("a", "aaa"), ("", "ab")),
    ("^ab?c$", ("ac", "abc"), ("abbc",)),
    ("^a{3}$", ("aaa",), ("aa", "aaaa")),
    ("^a{2,}$", ("aa", "aaaaa"), ("a",)),
    ("^a{1,3}$", ("a", "aaa"), ("", "aaaa")),
    ("^a{0}b$", ("b",), ("ab",)),
    ("^(ab){2}$", ("abab",), ("ab", "aab", "ababab")),
    ("^(a{2}|b){2}$", ("aab", "bb", "aaaa"), ("ab", "aaa")),
    ("^(a*)*b$", ("b", "aab"), ("a",)),
    ("^(a?){3}$", ("", "aaa"), ("aaaa",)),
    ("^a+?b*?$", ("a", "aabb"), ("b",)),
    ("^.$", ("a", "\u00e9", "\U0001f600", "\t"), ("", "ab", "\n", "\r", "\u2028")),
    ("^[a-c]$", ("a", "c"), ("d", "-", "B")),
    ("^[^a-c]$", ("d", "\n", "\U0001f600"), ("a", "", "dd")),
    ("^[-a]$", ("-", "a"), ("b",)),
    ("^[a-]$", ("-", "a"), ("b",)),
    ("^[.*$^]$", (".", "*", "$", "^"), ("a",)),
    ("^[\\]\\\\-]$", ("]", "\\", "-"), ("a",)),
    ("^[\\d_]+$", ("1_2",), ("a", "")),
    ("^[^\\d]$", ("a",), ("1",)),
    ("^[\\D]$", ("a", "\u0661"), ("1",)),
    ("^[\\W1]$", ("1", " "), ("2", "a")),
    ("[]", (), ("", "a")),
    ("^[^]$", ("a", "\n"), ("", "ab")),
    ("^\\d\\D$", ("1a",), ("a1", "11", "\u0661a")),
    ("^\\w\\W$", ("_-", "a\u00e9"), ("aa", "\u00e9-")),
    ("^\\s\\S$", (" a", "\u00a0a", "\u3000a", "\ufeffa", "\na"), ("aa", "  ", "\u200ba")),
    ("\\bon\\b", ("on", "is on now", "-on-"), ("upon", "one", "_on")),
    ("\\Bon", ("upon",), ("on", " on")),
    ("^\\.\\*\\/\\-\\@\\{\\}$", (".*/-@{}",), ("x*/-@{}",)),
    ("^\\t\\n\\r\\f\\v\\0$", ("\t\n\r\x0c\x0b\0",), ("tnrfv0",)),
    ("^\\x41\\u0042\\u{43}\\cJ$", ("ABC\n",), ("ABCJ",)),
    ("^\\u00e9\\ud83d\\ude00\\u{1F600}$", ("\u00e9\U0001f600\U0001f600",), ("\u00e9",)),
    ("^\U0001f600{2}$", ("\U0001f600\U0001f600",), ("\U0001f600",)),
    ("^[\u00e0-\u00ff]$", ("\u00e9",), ("e", "\u0100")),
    ("^[\U0001f600-\U0001f64f]$", ("\U0001f603",), ("\U0001f5ff", "")),
    ("^(?:a|b)(?<name>c)$", ("ac", "bc"), ("c",)),
    ("}]", ("a}]",), ("]}",)),
    (
        "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        ("123e4567-e89b-12d3-a456-426614174000",),
        ("123e4567-e89b-12d3-a456-42661417400", "123e4567-e89b-12d3-a456-4266141740000"),
    ),
    ("^v\\d+(\\.\\d+){0,2}$", ("v1", "v1.2.3"), ("1", "v1.", "v1.2.3.4")),
    ("^(a|aa)+$", ("a" * 200,), ("a" * 200 + "b",)),
    ("(x+x+)+y", ("x" * 100 + "y",), ("x" * 200,)),
    ("^(.?){60}a{60}$", ("a" * 60, "a" * 120), ("a" * 59, "a" * 121)),
)

REFUSED = (
    "(", ")", "a)", "(a", "[", "[a", "*", "+a", "?", "a**", "a+*", "^*", "$+", "\\b?", "{", "a{",
    "a{}", "a{x}", "a{,3}", "a{1", "a{1,", "a{3,1}", "a{1}{2}", "\\", "(?=a)", "(?!a)", "(?<=a)",
    "(?<!a)", "(?i:a)", "(?P<n>a)", "(?<n", "\\1", "\\k<n>", "\\p{L}", "\\P{L}", "\\A", "\\Z",
    "\\z", "\\q", "\\01", "\\x4", "\\xg0", "\\u12", "\\u{}", "\\u{110000}", "\\u{12", "\\u{g}",
    "\\ud83d\\u0041", "\\c1", "\\c", "[b-a]", "[\\d-z]", "[a-\\d]", "[\\B]", "[\\1]", "[\\p{L}]",
    "\\\u00e9", "a{2000}", "(a{100}){100}", "(((a{9}){9}){9}){9}", "a{0,2000}",
)  # fmt: skip


def test_table():
    for text, found, missed in TABLE:
        pattern = Pattern(text)
        for given in found:
            assert pattern.search(given), (text, given)
        for given in missed:
            assert not pattern.search(given), (text, given)


def test_what_cannot_be_checked_is_refused():
    for text in REFUSED:
        try:
            Pattern(text)
        except ConfigError as e:
            assert str(e).startswith("pattern"), (text, e)
        else:
            raise AssertionError(text)


def test_the_size_has_a_limit():
    assert Pattern("^a{%d}$" % (MAX_SIZE - 3)).search("a" * (MAX_SIZE - 3))
    try:
        Pattern("^a{%d}$" % (MAX_SIZE - 2))
    except ConfigError as e:
        assert "too large" in str(e)
    else:
        raise AssertionError


def test_a_pattern_is_compiled_once():
    assert compiled("^abc$") is compiled("^" + "abc$")
