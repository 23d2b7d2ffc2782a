"""Formats: what is of each of them and what nearly is. The same on every port."""

from mcp_gw.rules import FORMATS, is_multiple, repeated, same

# The last value that is good is on the line before None.
TABLE = {
    "date": (
        "2026-01-31", "2024-02-29", "2000-02-29", "0000-12-31", "2026-04-30",
        None,
        "", "2026-1-31", "2026-02-29", "1900-02-29", "2026-04-31", "2026-13-01", "2026-00-01",
        "2026-01-00", "2026-01-32", "26-01-31", "2026/01/31", "2026-01-31Z", " 2026-01-31",
        "2026-01-\u0663\u0661", "+026-01-31", "2026-01-3x",
    ),
    "time": (
        "00:00:00Z", "23:59:59.999999999z", "12:30:00+05:30", "12:30:00-23:59",
        "23:59:60Z", "01:29:60+01:30", "15:59:60-08:00",
        None,
        "12:30:00", "12:30Z", "24:00:00Z", "12:60:00Z", "12:30:61Z", "12:30:60Z", "12:30:00.Z",
        "12:30:00+5:30", "12:30:00+24:00", "12:30:00+05:60", "12:30:00+0530", "12:30:00 Z",
        "1:30:00Z", "12-30-00Z", "12:30:00,5Z", "\u0661\u0662:30:00Z", "12:30:00ZZ", "",
    ),
    "date-time": (
        "2026-01-31T23:59:00Z", "1985-04-12t23:20:50.52z", "1990-12-31T15:59:60-08:00",
        None,
        "2026-01-31", "2026-01-31 23:59:00Z", "2026-02-30T23:59:00Z", "2026-01-31T23:59:00",
        "2026-01-31TT23:59:00Z", "tomorrow", "",
    ),
    "email": (
        "a@b", "name@example.org", "first.last+tag@sub.example.org", "!#$%&'*+/=?^_`{|}~-@x.y",
        None,
        "", "@", "a@", "@b", "a.example.org", ".a@b", "a.@b", "a..b@c", "a@b@c", "a b@c", "a@-b",
        "a@b..c", "a@b.", "\u00e9@b", "a@\u00e9", "x" * 65 + "@b", "a@[127.0.0.1]",
    ),
    "hostname": (
        "a", "pump-1.example.org", "xn--4ca", "1.2.3", "a" * 63 + ".b",
        None,
        "", ".", "a.", ".a", "a..b", "-a", "a-", "a_b", "a b", "a" * 64, "a." * 126 + "abc",
        "\u00e9",
    ),
    "ipv4": (
        "0.0.0.0", "255.255.255.255", "192.168.0.7",
        None,
        "", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.4 ", "1.2.3.-4", "1.2.3.", "a",
        "1.2.3.0x1", "\u0661.2.3.4", "1.2.3.0000",
    ),
    "uuid": (
        "123e4567-e89b-12d3-a456-426614174000", "00000000-0000-0000-0000-000000000000",
        "ABCDEFAB-CDEF-ABCD-EFAB-CDEFABCDEFAB",
        None,
        "", "123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-42661417400",
        "123e4567-e89b-12d3-a456-42661417400g", "123e4567-e89b-12d3-a456_426614174000",
        "{123e4567-e89b-12d3-a456-426614174000}", "123e4567-e89b-12d3-a45-6426614174000",
    ),
    "uri": (
        "https://example.org", "https://user:pw@example.org:8080/a/b?c=d&e#f", "mailto:a@b",
        "urn:uuid:x", "board://status", "file:///etc/x", "x:", "a+b-c.1:%41", "http://[::1]:80/",
        "http://1.2.3.4", "tel:+1-816-555-1212", "https://example.org/?q=/?", "x://h:/",
        None,
        "", "example.org", "/a/b", "//h/p", ":x", "1x:y", "a b:c", "x:a b", "x:%4", "x:%zz",
        "x:a#b#c", "http://[::1", "http://[]/", "http://a:b:c/", "http://h:8o/", "x:<a>",
        "x:\u00e9", "http://ex[ample/", "x:a\\b", 'x:"', "x:{a}", "http://a@b@c/", "x:^", "x:[a]",
        "http://[x]/",
    ),
}  # fmt: skip


def test_formats():
    assert set(TABLE) == set(FORMATS)
    for name, rows in TABLE.items():
        due = True
        for text in rows:
            if text is None:
                due = False
            else:
                assert bool(FORMATS[name][0](text)) == due, (name, text)
        assert FORMATS[name][0](FORMATS[name][1]), name


def test_equality_is_that_of_json():
    values = (None, False, True, 0, 1, 1.5, "", "1", [], [1], [True], {}, {"a": 1}, {"a": True})
    for i, a in enumerate(values):
        for j, b in enumerate(values):
            assert same(a, b) == (i == j), (a, b)
            assert (repeated([a, b]) == 1) == (i == j), (a, b)
    for a, b in ((1, 1.0), ([0], [0.0]), ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1})):
        assert same(a, b)
        assert repeated([a, b]) == 1
    assert not same({"a": 1}, {"b": 1})
    assert not same([1, 2], [2, 1])
    assert repeated(["a", "b", "c", "b"]) == 3


def test_multiples():
    for value, step, due in (
        (6, 3, True), (7, 3, False), (-6, 3, True), (0, 3, True), (4.5, 1.5, True),
        (4, 1.5, False),
        (0.3, 0.1, True), (0.7, 0.1, True), (0.35, 0.1, False), (19.99, 0.01, True),
        (19.995, 0.01, False), (0.0075, 0.0001, True), (0.00751, 0.0001, False), (1.0, 3, False),
        (10**20, 10**10, True), (10**20 + 1, 10**10, False), (10**400, 0.5, True),
        (10**400, 0.3, False), (10**400, 3.0, False), (10**400, 2.0, True), (6, 3.0, True),
    ):  # fmt: skip
        assert is_multiple(value, step) == due, (value, step)
