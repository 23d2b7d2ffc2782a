"""Where a text is cut, without regular expressions: c_modules/bpe/bpe_split.c in Python.

The rules are those of GPT-2, cl100k_base and o200k_base; text is bytes, and nothing behind the
first byte that is not valid UTF-8 is looked at.
"""

from . import bpe_unicode
from .utf8 import character

WHOLE, SPACES, GPT2, CL100K, O200K = range(5)
OTHER, SPACE, NUMBER, UPPER, LOWER, LETTER, MARK, END = range(8)
_EVEN_UPPER = 8
_LETTERS = (UPPER, LOWER, LETTER)
_SIGNS = (OTHER, MARK)  # neither white space, letter nor number
_CASELESS = (LETTER, MARK)
_HEAD = (UPPER, LETTER, MARK)
_TAIL = (LOWER, LETTER, MARK)


def kind_of(point):
    """The class of a code point."""
    low, high = bpe_unicode.PLANES[point >> 16], bpe_unicode.PLANES[(point >> 16) + 1]
    firsts = bpe_unicode.FIRSTS
    while high - low > 1:
        middle = (low + high) // 2
        if firsts[2 * middle] | firsts[2 * middle + 1] << 8 <= point & 0xFFFF:
            low = middle
        else:
            high = middle
    kind = bpe_unicode.KINDS[low // 2] >> (low & 1) * 4 & 15
    if kind >= _EVEN_UPPER:
        return LOWER if (kind ^ point) & 1 else UPPER
    return kind


class Splitter:
    def __init__(self, text, end, more, style, digits, trailing):
        self.text = text
        self.end = end  # of what is valid
        self.more = more  # whether the text goes on there
        self.touched = False  # whether what comes there would matter
        self.digits = digits
        self.trailing = trailing
        # piece(at): where the piece ends that begins there
        self.piece = (self._whole, self._spaces, self._gpt2, self._cl100k, self._o200k)[style]

    def _look(self, at):
        """(class of the character at `at`, the place after it)."""
        if at == self.end:
            self.touched |= self.more
            return END, at
        size, point = character(self.text, at, self.end)
        if size <= 0:
            if size < 0 and self.more:
                self.touched = True
            else:
                self.end = at
                self.more = False
            return END, at
        return kind_of(point), at + size

    def _run(self, at, kinds):
        kind, after = self._look(at)
        while kind in kinds:
            at = after
            kind, after = self._look(at)
        return at

    def _byte(self, at):
        if at >= self.end:
            self.touched |= self.more
            return 0
        return self.text[at]

    def _contraction(self, at, any_case):
        if self.text[at] != 39:
            return at
        fold = 0x20 if any_case else 0
        first = self._byte(at + 1) | fold
        if first in b"sdmt":
            return at + 2
        if first in b"lvr":
            second = self._byte(at + 2) | fold
            return at + 3 if second == (108 if first == 108 else 101) else at
        if any_case and self._byte(at + 1) == 0xC5:
            after = self._look(at + 1)[1]
            if self.text[at + 1 : after] == b"\xc5\xbf":  # a long s
                return after
        return at

    def _numbers(self, at):
        if not self.digits:
            return self._run(at, (NUMBER,))
        for _ in range(self.digits):
            kind, after = self._look(at)
            if kind != NUMBER:
                break
            at = after
        return at

    def _white(self, at, lines):
        """White space, of which the last character goes with what follows it."""
        end = last = line = at
        while True:
            kind, after = self._look(end)
            if kind != SPACE:
                break
            last = end
            if self.text[end] in b"\r\n":
                line = after
            end = after
        if end == self.end and self.trailing:
            return end
        if lines and line > at:
            return line
        return end if end == self.end or last == at else last

    def _signs(self, at, ends):
        at = self._run(at, _SIGNS)
        while self._byte(at) in ends:
            at += 1
        return at

    def _whole(self, at):
        self.touched |= self.more
        return self.end

    def _spaces(self, at):
        while at < self.end and self.text[at] == 32:
            at += 1
        found = self.text.find(b" ", at, self.end)
        if found < 0:
            self.touched |= self.more
            return self.end
        return found

    def _gpt2(self, at):
        end = self._contraction(at, False)
        if end > at:
            return end
        kind, after = self._look(at)
        begin = at
        if self.text[at] == 32:
            kind = self._look(after)[0]
            if kind in (SPACE, END):
                return self._white(at, False)
            begin = after
        if kind == SPACE:
            return self._white(at, False)
        if kind == NUMBER:
            return self._numbers(begin)
        return self._run(begin, _LETTERS if kind in _LETTERS else _SIGNS)

    def _no_word(self, at, kind, after, ends):
        if kind == NUMBER:
            return self._numbers(at)
        if self.text[at] == 32 and self._look(after)[0] in _SIGNS:
            return self._signs(after, ends)
        if kind == SPACE:
            return self._white(at, True)
        return self._signs(at, ends)

    def _before_word(self, at, kind):
        return self.text[at] not in b"\r\n" and kind not in _LETTERS and kind != NUMBER

    def _cl100k(self, at):
        end = self._contraction(at, True)
        if end > at:
            return end
        kind, after = self._look(at)
        if kind in _LETTERS:
            return self._run(after, _LETTERS)
        if self._before_word(at, kind):
            second, then = self._look(after)
            if second in _LETTERS:
                return self._run(then, _LETTERS)
        return self._no_word(at, kind, after, b"\r\n")

    def _word(self, at):
        """(end of head*tail+, or `at`; end of head*)"""
        caseless = end = at
        kind, after = self._look(end)
        while kind in _HEAD:
            end = after
            if kind in _CASELESS:
                caseless = end
            kind, after = self._look(end)
        return (self._run(after, _TAIL) if kind == LOWER else caseless), end

    def _o200k(self, at):
        kind, after = self._look(at)
        end = head = head_after = at
        before = self._before_word(at, kind)
        if before:
            found, head_after = self._word(after)
            if found > after:
                end = found
        if end == at and (kind in _HEAD or kind == LOWER):
            end, head = self._word(at)
        if end == at:
            end = head_after if before and head_after > after else head
        if end == at:
            return self._no_word(at, kind, after, b"\r\n/")
        if end < self.end:
            return self._contraction(end, True)
        self.touched |= self.more
        return end
