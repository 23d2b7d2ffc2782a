"""The tokenizer: with the C core on MicroPython, with its twin on CPython."""

import sys

try:
    import micropython
except ImportError:
    micropython = None

from mcp_gw import Tokenizer
from mcp_gw.infer import bpe_twin, tokenizer

FOLDER = __file__.rpartition("/")[0] or "."
WORDS = FOLDER + "/words.mgt"
CHARACTERS = FOLDER + "/characters.mgt"


def raises(error, function, *arguments):
    try:
        function(*arguments)
    except error as e:
        return str(e)
    raise AssertionError("nothing was raised")


def test_the_c_core_where_there_is_one():
    in_c = sys.implementation.name == "micropython"
    assert (tokenizer._bpe is not bpe_twin) == in_c


def test_encode_count_decode():
    t = Tokenizer(WORDS)
    ids = t.encode("hello world 00012")
    # A byte's number is its value + 1, but 255 is 0; merges come from 256 on.
    assert list(ids) == [259, 264, 33, 266, 50, 51]
    assert t.count("hello world 00012") == 6
    assert t.decode(ids) == "hello world 00012"
    assert t.decode_bytes(ids) == b"hello world 00012"
    assert t.encode(b"hello") == t.encode("hello") == t.encode(memoryview(b"hello"))
    assert not len(t.encode("")) and t.count("") == 0 and t.decode([]) == ""
    assert t.size == 902 and t.bos is None and t.eos == 900
    assert t.token_bytes(259) == b"hello"


def test_special_tokens():
    t = Tokenizer(WORDS)
    assert t.special == {"<|end|>": 900, "<|end|><|end|>": 901}
    text = "hello<|end|><|end|><|end|>hello<|end"
    assert list(t.encode(text, special=True)) == [259, 901, 900, 259] + list(t.encode("<|end"))
    assert t.count(text, True) == len(t.encode(text, True))
    assert 900 not in list(t.encode(text))
    assert t.decode(t.encode(text, True)) == t.decode(t.encode(text)) == text


def test_characters_and_the_space_before_a_text():
    t = Tokenizer(CHARACTERS)
    assert list(t.encode("aéa")) == [302]  # " a", "éa"
    assert list(t.encode(" aéa")) == [32, 302]
    assert list(t.encode("ééa")) == [32, 256, 301]
    assert list(t.encode("ü漢")) == [32, 0xC3, 0xBC, 257]
    assert list(t.encode(b"\xc3\xa9\xc3")) == [32, 256, 0xC3]
    assert list(t.encode("<s>a<s>", True)) == [400, 300, 400]
    assert t.decode(t.encode("a éa")) == "a éa"
    assert t.bos == 400 and t.eos is None


def test_invalid_bytes_and_what_follows_are_one_piece():
    t = Tokenizer(WORDS)
    assert list(t.encode(b"hello \xff hello")) == [259, 33, 0, 33, 259]
    # cl100k's split would keep these apart; merging does not when they are one piece.
    assert list(t.encode(b" world\xff  \n\n  ")) == [264, 0, 268, 267, 268]


def test_every_split_of_a_text_gives_the_same_tokens():
    for path, special in ((WORDS, False), (WORDS, True), (CHARACTERS, True)):
        t = Tokenizer(path)
        text = "hello  world\n\n 0000 aéa<|end|><s><s>x \u00e9\u6f22".encode()
        wanted = list(t.encode(text, special))
        for step in (1, 2, 3, 7):
            e = t.encoder(special)
            for _ in range(2):  # it can be used again
                ids = []
                for at in range(0, len(text), step):
                    ids += list(e.feed(text[at : at + step]))
                ids += list(e.finish())
                assert ids == wanted, (path, step, ids, wanted)


def test_an_encoder_keeps_no_more_than_its_limit():
    t = Tokenizer(WORDS)
    e = t.encoder(limit=20)
    e.feed("a" * 20)
    assert "limit is 20" in raises(ValueError, e.feed, "a")
    e = t.encoder(limit=20)
    for _ in range(50):
        e.feed("hello worl")
        e.feed("d ")
    assert e.finish()[-1] == 33


def test_a_decoder_gives_whole_characters():
    t = Tokenizer(CHARACTERS)
    d = t.decoder()
    ids = [32, 97, 0xC3, 0xBC, 0xE6, 0xBC, 0xA2, 256, 0xF0, 0x9F, 97, 0xF0, 0x9F]
    parts = [d.feed(id) for id in ids]
    assert parts == ["", "a", "", "\u00fc", "", "", "\u6f22", "\u00e9", "", "", "\ufffda", "", ""]
    assert d.finish() == "\ufffd"
    assert d.feed(300) == "a"
    assert t.decoder(start=False).feed(300) == " a"
    assert d.finish() == ""


def test_bytes_that_are_no_characters_are_replaced():
    t = Tokenizer(WORDS)
    # As CPython has it: one U+FFFD for each beginning of a character that does not go on.
    for data in (
        b"a\xffb",
        b"\xc3",
        b"\xe2\x82",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x98x",
        b"\xc0\x80",
        b"\xf4\x90",
    ):
        text = t.decode(t.encode(data))
        if sys.implementation.name == "cpython":
            assert text == data.decode("utf-8", "replace"), data
        assert "\ufffd" in text
    assert t.decode(t.encode(b"\xe2\x82\xe2\x82\xac")) == "\ufffd\u20ac"


def test_what_is_wrong_with_a_file_is_said():
    with open(WORDS, "rb") as file:
        data = file.read()
    for wrong, text in (
        (b"", "file too short (at offset 0)"),
        (b"x" * 200, "not a tokenizer file (magic) (at offset 0)"),
        (data[:4] + b"\x02" + data[5:], "version not known (at offset 4)"),
        (data[:-1], "file cut short (at offset 8)"),
        (data[:200] + b"\x55" + data[201:], "checksum wrong (at offset 12)"),
    ):
        assert raises(ValueError, Tokenizer, wrong) == "vocabulary: " + text
    raises(OSError, Tokenizer, FOLDER + "/missing.mgt")
    assert Tokenizer(memoryview(data)).count("hello") == 1
    assert Tokenizer(data + b"a signature").count("hello") == 1


def test_numbers_that_are_no_tokens():
    t = Tokenizer(WORDS)
    for id in (902, 899, 1 << 20, -1):
        assert str(id) in raises(ValueError, t.token_bytes, id)
    raises(TypeError, t.encode, 5)


def test_counting_allocates_nothing():
    if not micropython or not hasattr(micropython, "heap_lock"):
        return
    for path in (WORDS, CHARACTERS):
        t = Tokenizer(path)
        text = "hello world, 0000 h\u00e9llo \u6f22 " * 50
        long = "a" * 3000
        t.count("")
        micropython.heap_lock()
        try:
            found = t.count(text)
            more = t.count(long)
        finally:
            micropython.heap_unlock()
        assert (found, more) == (len(t.encode(text)), len(t.encode(long)))
