"""Texts to tokens and back: exact byte-pair encoding over a vocabulary that is read in place.

    from mcp_gw import Tokenizer
    tokenizer = Tokenizer("/rom/cl100k.mgt")
    tokenizer.count("How many tokens is this?")

`mcpgw tokenizer` makes vocabularies; docs/tokenizer-format.md has their format.
"""

try:
    import _bpe
except ImportError:
    from . import bpe_twin as _bpe

from ..compat import const
from .utf8 import complete, to_text

_SPECIAL = const(1)
_MORE = const(2)
_START = const(4)
_PREFIX = const(3)
_STEMS = const(16)
_STEM = b"\xe2\x96\x81"  # U+2581
# Text that an Encoder keeps because more of it could change how it is cut.
PENDING_LIMIT = const(65536)


class Tokenizer:
    """The tokens of one vocabulary.

    source: the path of a .mgt file, or what holds one (bytes, memoryview, a file of a ROM file
    system). From a ROM file system it is used in place; from others it is read into RAM. Raises
    ValueError, which says what is wrong with a file, and OSError.

    size: tokens have numbers below it; bos, eos: the numbers of the tokens that begin and end a
    text, None if there are none.
    """

    def __init__(self, source):
        name = "vocabulary"
        if isinstance(source, str):
            name = source
            source = _in_place(source)
        try:
            self._v = _bpe.open(source)
        except ValueError as error:
            if len(error.args) != 2:
                raise
            raise ValueError("%s: %s (at offset %d)" % ((name,) + error.args))
        self.size, self.style, self._flags, bos, eos = _bpe.info(self._v)[:5]
        self.bos = bos if bos >= 0 else None
        self.eos = eos if eos >= 0 else None
        self._special = None

    def encode(self, text, special=False):
        """The tokens of a text (str or bytes): array of 'H', or of 'I' if there are more than
        65,536 numbers.

        special: whether special tokens in it are recognised. Do that only in text that you wrote:
        else others can end a message where they like. Bytes that are not valid UTF-8 are encoded
        as tiktoken does (see docs/tokenizer-format.md).
        """
        return _bpe.encode(self._v, self._text(text), _START | special)

    def count(self, text, special=False):
        """The number of tokens of a text; nothing is allocated for it."""
        return _bpe.count(self._v, self._text(text), _START | special)

    def decode(self, ids):
        """The text of tokens; U+FFFD stands for bytes that are no characters."""
        return to_text(self.decode_bytes(ids))

    def decode_bytes(self, ids):
        """The bytes of tokens. Where the vocabulary has a space before every text, that is left
        out. Raises ValueError for a number that is no token."""
        data = b"".join([self.token_bytes(id) for id in ids])
        return data[1:] if self._flags & _PREFIX and data[:1] == b" " else data

    def encoder(self, special=False, limit=PENDING_LIMIT):
        """An Encoder for a text that comes in parts."""
        return Encoder(self, special, limit)

    def decoder(self, start=True):
        """A Decoder for tokens that come one by one. start: whether the text begins with them."""
        return Decoder(self, start)

    def token_bytes(self, id):
        """The bytes of one token. Raises ValueError."""
        data = _bpe.token(self._v, id)
        if data is None:
            raise ValueError("no token %d" % id)
        return data

    @property
    def special(self):
        """{text: number} of the special tokens; made when it is first asked for."""
        if self._special is None:
            self._special = {
                to_text(self.token_bytes(id)): id
                for id in range(self.size)
                if _bpe.special(self._v, id)
            }
        return self._special

    def _text(self, text):
        if self._flags & _STEMS:
            # Rare: the sign that stands for a space in such vocabularies, in a text.
            if isinstance(text, str):
                if "\u2581" in text:
                    return text.replace("\u2581", " ")
            else:
                text = text if isinstance(text, bytes) else bytes(text)
                if _STEM in text:
                    return text.replace(_STEM, b" ")
        return text


class Encoder:
    """Encodes a text that comes in parts: the tokens are those of encode() for the whole text.

    A piece of text is encoded when it is clear where it ends. Pieces are words and the like, but a
    piece may be as long as somebody likes: with more than `limit` bytes pending, feed() raises
    ValueError.
    """

    def __init__(self, tokenizer, special, limit):
        self._tokenizer = tokenizer
        self._how = _START | special
        self._limit = limit
        self._pending = b""

    def feed(self, part):
        """The tokens (array) that are certain after one more part of the text (str or bytes)."""
        if isinstance(part, str):
            part = part.encode()
        return self._take(self._pending + part, _MORE)

    def finish(self):
        """The tokens of the rest. The encoder can then be used for another text."""
        ids = self._take(self._pending, 0)
        self._how = self._how & _SPECIAL | _START
        return ids

    def _take(self, text, more):
        tokenizer = self._tokenizer
        if tokenizer._flags & _STEMS and _STEM in text:
            text = text.replace(_STEM, b" ")
        ids, used, fresh = _bpe.part(tokenizer._v, text, self._how | more)
        text = text[used:]
        if len(text) > self._limit:
            raise ValueError(
                "%d bytes of text without an end of a piece; the limit is %d"
                % (len(text), self._limit)
            )
        self._pending = text
        self._how = self._how & _SPECIAL | fresh
        return ids


class Decoder:
    """Decodes tokens one by one into text, character by character: a token may end within one."""

    def __init__(self, tokenizer, start):
        self._tokenizer = tokenizer
        self._begin = self._start = start and tokenizer._flags & _PREFIX
        self._pending = b""

    def feed(self, id):
        """The characters (str) that are complete with one more token. Raises ValueError."""
        data = self._pending + self._tokenizer.token_bytes(id)
        if self._start and data:
            self._start = False
            if data[0] == 32:
                data = data[1:]
        end = complete(data)
        self._pending = data[end:]
        return to_text(data[:end])

    def finish(self):
        """What is left: U+FFFD for a character that was not completed, else nothing. The decoder
        can then be used for another text."""
        data, self._pending = self._pending, b""
        self._start = self._begin
        return to_text(data)


def _in_place(path):
    """A file as a buffer: itself where its file system lets it be read in place, else its
    bytes."""
    file = open(path, "rb")
    try:
        return memoryview(file)
    except TypeError:
        with file:
            return file.read()
