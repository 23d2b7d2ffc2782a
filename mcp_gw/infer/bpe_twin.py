"""The C module _bpe in Python: used on CPython and where a firmware comes without it.

It makes tokens by merging, the pair with the lowest rank first, and finds pairs only; the C core
covers text with tokens that it finds in a trie. Both must give the same for every text. The
functions are described in c_modules/bpe/bpe_mod.c, the file in docs/tokenizer-format.md.
"""

import struct
from array import array
from heapq import heapify, heappop, heappush

try:
    from binascii import crc32
except ImportError:  # firmware without deflate
    crc32 = None

from ..compat import const
from .bpe_split import GPT2, Splitter
from .utf8 import character

SPECIAL, MORE, START = const(1), const(2), const(4)
PREFIX, PREFIX_UNLESS, PREFIX_EACH, TRAILING = const(1), const(2), const(4), const(8)
_STYLES = const(5)
_FLAGS = const(31)
_HEADER = const(128)
_NONE = const(0xFFFFFFFF)
_MASK = const(0xFFFFFFFF)
_FIELDS = "<4sHBBIIIIIIIIHHiiIBBBBI16I"
_BLANK = b" \n\t"


class Vocabulary:
    def __init__(self, buffer):
        self.data = data = memoryview(buffer)
        if len(data) < _HEADER:
            raise ValueError("file too short", len(data))
        if bytes(data[:4]) != b"MGT1":
            raise ValueError("not a tokenizer file (magic)", 0)
        f = struct.unpack_from(_FIELDS, data, 0)
        if f[1] != 1:
            raise ValueError("version not known", 4)
        self.style, self.digits, self.size, crc, self.flags = f[2:7]
        if not _HEADER <= self.size <= len(data):
            raise ValueError("file cut short", 8)
        if crc32 and crc != crc32(data[16 : self.size], crc32(data[:12])):
            raise ValueError("checksum wrong", 12)
        self.tokens, self.atoms, self.wholes, self.merges, self.ids = f[7:12]
        self.longest, self.longest_special, self.bos, self.eos = f[12:16]
        self.ref, self.bits, self.pair_bits, _, self.slots = f[17:22]
        self._check()
        sections = f[22:]
        lengths = (
            sections[1] // 8 * 8,
            sections[1] // 8 * 2,
            (self.merges - 255) * self.ref,
            sections[7],
            (self.tokens - self.merges) * (self.bits // 4),
            1 << self.pair_bits,
            self.slots * self.ref,
            sections[15],
        )
        parts = []
        for i in range(8):
            at, length = sections[2 * i : 2 * i + 2]
            if length != lengths[i]:
                raise ValueError("section has the wrong length", 68 + 8 * i)
            if at < _HEADER or at + length > self.size:
                raise ValueError("section outside the file", 64 + 8 * i)
            parts.append(data[at : at + length])
        self.runs, order, literals, pool, self.splits, self.displace, self.slot, trie = parts
        self._read_runs(order)
        self._read_literals(literals, pool)
        self._read_specials(trie, f[16])

    def _check(self):
        for good, what, at in (
            (self.style < _STYLES, "split style not known", 6),
            (not self.flags & ~_FLAGS, "flag not known", 16),
            (
                self.style < GPT2 or not self.flags & (PREFIX | PREFIX_UNLESS),
                "a space before texts does not go with this split style",
                16,
            ),
            (self.ref in (2, 3), "size of references not 2 or 3", 56),
            (self.bits in (12, 16, 20), "bits of a split not 12, 16 or 20", 57),
            (self.tokens <= 1 << self.bits, "too many tokens", 20),
            (
                256 <= self.atoms <= self.wholes <= self.merges <= self.tokens,
                "counts of tokens out of order",
                24,
            ),
            (1 <= self.pair_bits <= 20, "sizes of the pair table out of range", 58),
        ):
            if not good:
                raise ValueError(what, at)

    def _int(self, data, at):
        value = data[at] | data[at + 1] << 8
        return value if self.ref == 2 else value | data[at + 2] << 16

    def _read_runs(self, order):
        # [first of ours, first public one] each, and the end.
        self.inner = []
        self.outer = []
        for at in range(0, len(self.runs), 8):
            inner, outer = struct.unpack_from("<II", self.runs, at)
            self.inner.append(inner)
            self.outer.append(outer)
        if not self.inner or self.inner[0]:
            raise ValueError("first run does not begin at token 0", 64)
        self.inner.append(self.tokens)
        self.order = [order[at] | order[at + 1] << 8 for at in range(0, len(order), 2)]
        if max(self.order) >= len(self.outer):
            raise ValueError("runs not in order of public numbers", 72)

    def _read_literals(self, literals, pool):
        """Characters, whole pieces and others: there are few."""
        self.literals = []
        begin = 0
        for at in range(self.ref, len(literals), self.ref):
            end = self._int(literals, at)
            self.literals.append(bytes(pool[begin:end]))
            begin = end
        self.chars = {self.literals[i]: 256 + i for i in range(self.atoms - 256)}
        self.whole = {
            self.literals[i]: 256 + i for i in range(self.atoms - 256, self.wholes - 256)
        }

    def _read_specials(self, trie, at):
        leaf = 1 << (8 * self.ref - 1)
        self.specials = {}  # text: token
        waiting = [] if at == _NONE else [at]
        while waiting:
            at = waiting.pop()
            if at & leaf:
                self._special(at & leaf - 1)
                continue
            count = trie[at] & 0x7F
            has_token = trie[at] & 0x80
            at += 1
            if has_token:
                self._special(self._int(trie, at))
                at += self.ref
            if count > 96:
                at += count - 96
                count = 1
            else:
                if count == 96:
                    count += trie[at]
                    at += 1
                at += count
            for i in range(count):
                waiting.append(self._int(trie, at + i * self.ref))
        # Of those that begin at one place the longest counts.
        self.longest_first = sorted(self.specials, key=len, reverse=True)

    def _special(self, token):
        if not self.wholes <= token < self.merges:
            raise ValueError("special tokens outside the trie", 52)
        self.specials[self.literals[token - 256]] = token

    def _halves(self, token):
        at = (token - self.merges) * (self.bits // 4)
        data = self.splits
        if self.bits == 12:
            both = data[at] | data[at + 1] << 8 | data[at + 2] << 16
            return both & 0xFFF, both >> 12
        if self.bits == 16:
            return data[at] | data[at + 1] << 8, data[at + 2] | data[at + 3] << 8
        middle = data[at + 2]
        return (
            data[at] | data[at + 1] << 8 | (middle & 15) << 16,
            middle >> 4 | data[at + 3] << 4 | data[at + 4] << 12,
        )

    def pair(self, a, b):
        """The token that a and b merge to, or None."""
        if not self.slots:
            return None
        first = a * 0x9E3779B1
        h = (first + b * 0x85EBCA6B) & _MASK
        h = ((h ^ h >> 15) * 0x2C1B3C6D) & _MASK
        d = self.displace[h >> (32 - self.pair_bits)]
        x = (((h + first) & _MASK ^ (d * 0x27D4EB2F) & _MASK) * 0x165667B1) & _MASK
        token = self._int(self.slot, (x * self.slots >> 32) * self.ref)
        return (
            token if self.merges <= token < self.tokens and self._halves(token) == (a, b) else None
        )

    def text(self, token):
        """The bytes of a token."""
        out = bytearray()
        waiting = [token]
        while waiting:
            token = waiting.pop()
            if token >= self.merges:
                left, right = self._halves(token)
                if left >= token or right >= token:
                    raise ValueError("token is made of what comes after it")
                waiting.append(right)
                waiting.append(left)
            elif token < 256:
                out.append(token)
            else:
                out.extend(self.literals[token - 256])
        return bytes(out)

    def public(self, token):
        low, high = 0, len(self.outer)
        while high - low > 1:
            middle = (low + high) // 2
            if self.inner[middle] <= token:
                low = middle
            else:
                high = middle
        return token - self.inner[low] + self.outer[low]

    def own(self, id):
        for at in self.order:
            token = id - self.outer[at] + self.inner[at]
            if self.inner[at] <= token < self.inner[at + 1]:
                return token
        return None

    def merge(self, text, before=b""):
        """[(token, bytes of text)] of a piece."""
        whole = self.whole.get(before + text)
        if whole is not None:
            return [(whole, len(text))]
        tokens, sizes = self._atoms(text)
        if before:
            tokens.insert(0, 32)
            sizes.insert(0, 0)
        count = len(tokens)
        after = list(range(1, count + 1))
        ahead = list(range(-1, count - 1))
        heap = []
        for i in range(count - 1):
            token = self.pair(tokens[i], tokens[i + 1])
            if token is not None:
                heap.append((token, i, tokens[i], tokens[i + 1]))
        heapify(heap)
        while heap:
            token, i, left, right = heappop(heap)
            j = after[i]
            if tokens[i] != left or j >= count or tokens[j] != right:
                continue  # one of them was merged with another
            tokens[i] = token
            tokens[j] = None
            sizes[i] += sizes[j]
            after[i] = k = after[j]
            if k < count:
                ahead[k] = i
                found = self.pair(token, tokens[k])
                if found is not None:
                    heappush(heap, (found, i, token, tokens[k]))
            h = ahead[i]
            if h >= 0:
                found = self.pair(tokens[h], token)
                if found is not None:
                    heappush(heap, (found, h, tokens[h], token))
        return [(tokens[i], sizes[i]) for i in range(count) if tokens[i] is not None]

    def _atoms(self, text):
        if not self.chars:
            return list(text), [1] * len(text)
        tokens, sizes = [], []
        at = 0
        while at < len(text):
            size = character(text, at, len(text))[0]
            token = self.chars.get(text[at : at + size]) if size > 1 else None
            if token is None:
                token, size = text[at], 1
            tokens.append(token)
            sizes.append(size)
            at += size
        return tokens, sizes


class _Job:
    """One text being encoded; see encode_segment() and its neighbours in bpe_core.c."""

    def __init__(self, v, text, how):
        self.v = v
        self.text = text if isinstance(text, bytes) else bytes(memoryview(text))
        self.how = how
        self.tokens = []
        self.prefix = v.flags & (PREFIX | PREFIX_UNLESS)
        self.fresh = how & START and self.prefix
        self.used = self.hold_count = 0

    def run(self):
        at, end, special, is_open = self._segment(0)
        while True:
            if not self._pieces(at, end, is_open) or is_open:
                del self.tokens[self.hold_count :]
                return
            if special is None:
                self.used = len(self.text)
                return
            self.tokens.append(self.v.specials[special])
            self.fresh = self.v.flags & PREFIX_EACH and self.prefix
            at, end, special, is_open = self._segment(end + len(special))

    def _segment(self, at):
        text, end = self.text, len(self.text)
        more = bool(self.how & MORE)
        if self.how & SPECIAL and self.v.specials:
            for i in range(at, end):
                for special in self.v.longest_first:
                    part = text[i : i + len(special)]
                    if part == special:
                        return at, i, special, False
                    if more and i + len(part) == end and special.startswith(part):
                        return at, i, None, True
        return at, end, None, more

    def _hold(self, at):
        self.used, self.hold_count = at, len(self.tokens)

    def _pieces(self, at, end, is_open):
        """Encode pieces of a segment. Returns whether that went to its end."""
        v, text = self.v, self.text
        gpt = v.style >= GPT2
        split = Splitter(text, end, is_open, v.style, v.digits, v.flags & TRAILING)
        self._hold(at)
        piece = None  # where the last one began, tokens before it, the same without blank ones
        solid, solid_count = at, len(self.tokens)
        solid_before = solid, solid_count
        blank = False
        while at < end:
            if gpt and character(text, at, end)[0] <= 0:
                if is_open:
                    return False
                if piece is not None:
                    at, count = solid_before if blank else piece
                    del self.tokens[count:]
                self.tokens += [token for token, _ in v.merge(text[at:end])]
                return True
            if not gpt or piece is None or solid == at:
                self._hold(at)
            elif solid > piece[0]:
                self.used, self.hold_count = piece
            stop = split.piece(at)
            if split.touched:
                return False
            piece = at, len(self.tokens)
            solid_before = solid, solid_count
            before = b""
            if self.fresh and not (v.flags & PREFIX_UNLESS and text[at] == 32):
                before = b" "
            made = v.merge(text[at:stop], before)
            for token, size in made:
                self.tokens.append(token)
                at += size
                if gpt and text[at - size : at].strip(_BLANK):
                    solid, solid_count = at, len(self.tokens)
            blank = gpt and not text[piece[0] : piece[0] + made[0][1]].strip(_BLANK)
            self.fresh = 0
        if not gpt:
            self._hold(at)
        return True


def _run(v, text, how):
    job = _Job(v, text.encode() if isinstance(text, str) else text, how)
    job.run()
    return job


def _array(v, job):
    return array("I" if v.ids > 65536 else "H", [v.public(token) for token in job.tokens])


def open(buffer):
    return Vocabulary(buffer)


def info(v):
    return (v.ids, v.style, v.flags, v.bos, v.eos, v.longest, v.longest_special, v.size)


def count(v, text, how):
    return len(_run(v, text, how).tokens)


def encode(v, text, how):
    return _array(v, _run(v, text, how))


def part(v, text, how):
    job = _run(v, text, how)
    return _array(v, job), job.used, START if job.fresh else 0


def token(v, id):
    own = v.own(id)
    return None if own is None else v.text(own)


def special(v, id):
    return v.own(id) in v.specials.values()
