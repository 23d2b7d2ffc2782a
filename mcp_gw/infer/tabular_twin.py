"""Trees and neighbours (models of kinds 2 and 3) in Python, where there is no _qnn: the same
checks, numbers and interface as its types. docs/model-trees.md has the files byte by byte."""

import struct

from ..compat import const

_MISSING = const(-32768)
_LEAF = const(0x8000)
_MAX_K = const(64)

_BODY = "counts do not fit into the body"
_RESERVED = "reserved field is not 0"
_DATA = "weights or table outside the data"
_VALUE = "parameter out of bounds"
_NODE = "a feature, child or class that is not there"
_KIND = "a model of another kind"


def _wrong(text, at):
    raise ValueError("%s at offset %d" % (text, at))


def check(buf):
    """Raise ValueError, saying what is wrong where, unless buf holds a model of kind 2 or 3 whose
    header was found right."""
    kind = struct.unpack_from("<H", buf, 6)[0]
    if kind not in (2, 3):
        _wrong(_KIND, 6)
    (Trees if kind == 2 else Neighbours)(buf)


class _File:
    """What both kinds have: a body, tables in the data section, features."""

    def __init__(self, buf, kind, size):
        self._buf = buf
        if struct.unpack_from("<H", buf, 6)[0] != kind:
            _wrong(_KIND, 6)
        self._body, length, self._data, self._length = struct.unpack_from("<4I", buf, 24)
        if length < size:
            _wrong(_BODY, self._body)
        self._outside = None

    def _table(self, at, count, size):
        size *= count
        first = at - self._data
        if at & 3 or first < 0 or size > self._length or first > self._length - size:
            self._outside = at
        return at

    def _check_features(self, records, n_keys):
        buf = self._buf
        if self._outside is not None:
            _wrong(_DATA, self._outside)
        self._features = []
        for i in range(self._n):
            at = records + 24 * i
            r = struct.unpack_from("<BbHIiiHHhh", buf, at)
            if r[7]:
                _wrong(_RESERVED, at)
            if r[0] > 2 or r[8] == _MISSING or r[8] > r[9]:
                _wrong(_VALUE, at)
            if r[0] == 0:
                if r[3] > n_keys or r[2] > n_keys - r[3] or r[2] > 32767:
                    _wrong(_DATA, at)
                last = None
                for key in range(self._keys + 4 * r[3], self._keys + 4 * (r[3] + r[2]), 4):
                    value = struct.unpack_from("<i", buf, key)[0]
                    if last is not None and value <= last:
                        _wrong(_VALUE, key)
                    last = value
            self._features.append(r)

    def _encoded(self, x):
        """Features as int16, from array('f') or array('h'); ValueError for anything else."""
        kind = _typecode(x)
        if kind not in ("f", "h") or len(x) != self._n:
            raise ValueError("not array('f') or array('h') of all features")
        if kind == "f":
            return [self._encode(r, x[i]) for i, r in enumerate(self._features)]
        query = list(x)
        for i, r in enumerate(self._features):
            if query[i] != _MISSING:
                query[i] = min(max(query[i], r[8]), r[9])
        return query

    def _encode(self, r, value):
        bits = struct.unpack("<I", struct.pack("<f", value))[0]
        magnitude = bits & 0x7FFFFFFF
        if magnitude > 0x7F800000:
            return _MISSING
        negative = bits >> 31
        if r[0] == 0:
            q = self._rank(r, -magnitude if negative else magnitude)
        else:
            exponent = (magnitude >> 23) or 1
            mantissa = magnitude & 0x7FFFFF
            if magnitude >> 23:
                mantissa |= 0x800000
            if negative:
                mantissa = -mantissa
            exponent += r[1] - 150
            if r[0] == 1:
                q = -_scaled(-mantissa, exponent) - r[5]
            else:
                offset = r[5] * 65536 + r[6] + 32768
                q = (_scaled(mantissa * r[4], exponent + 16) + offset) >> 16
        return min(max(q, r[8]), r[9])

    def _rank(self, r, key):
        low, count = 0, r[2]
        at = self._keys + 4 * r[3]
        while count:
            half = count // 2
            if struct.unpack_from("<i", self._buf, at + 4 * (low + half))[0] < key:
                low += half + 1
                count -= half + 1
            else:
                count = half
        return low


def _typecode(x):
    """That of an array, also under MicroPython, whose arrays do not tell."""
    try:
        return x.typecode
    except AttributeError:
        # array('f', [...]): the name is all that there is.
        return repr(x)[7:8] if repr(x).startswith("array(") else None


def _scaled(value, exponent):
    """floor(value * 2 ** exponent); beyond 2 ** 300 no difference is made."""
    if exponent >= 0:
        return value << min(exponent, 300)
    return value >> min(-exponent, 300)


def _int32(value):
    value &= 0xFFFFFFFF
    return value - (value >> 31 << 32)


def _copied(out, scores):
    if _typecode(out) != "i" or len(out) != len(scores):
        raise ValueError("not array('i') of all scores")
    for i, score in enumerate(scores):
        out[i] = score


class Trees(_File):
    """_qnn.Trees; see docs/model-trees.md."""

    def __init__(self, buf):
        super().__init__(buf, 2, 48)
        body = self._body
        (self._n, n_outputs, n_trees, self._post, self._width) = struct.unpack_from(
            "<HHHBB", buf, body
        )
        at = struct.unpack_from("<9I", buf, body + 8)
        self._leaf_len, zero = struct.unpack_from("<HH", buf, body + 44)
        if (
            0 in (self._n, n_outputs, n_trees)
            or self._n > 0x7FFF
            or self._post > 2
            or (self._post == 2 and n_outputs != 1)
            or self._width not in (1, 2, 4)
            or self._leaf_len not in (1, n_outputs)
        ):
            _wrong(_BODY, body)
        if zero:
            _wrong(_RESERVED, body + 46)
        features, self._trees, init, self._keys, n_keys, self._nodes, n_nodes = at[:7]
        self._leaves, n_leaves = at[7:]
        self._table(features, self._n, 24)
        self._table(self._trees, n_trees, 16)
        self._table(init, n_outputs, 4)
        self._table(self._keys, n_keys, 4)
        self._table(self._nodes, n_nodes, 8)
        self._table(self._leaves, n_leaves, self._leaf_len * self._width)
        self._check_features(features, n_keys)
        self._n_trees = n_trees
        self._format = "<%d%s" % (self._leaf_len, {1: "b", 2: "h", 4: "i"}[self._width])
        self._init = struct.unpack_from("<%di" % n_outputs, buf, init)
        for i in range(n_trees):
            self._check_tree(self._trees + 16 * i, n_nodes, n_leaves)
        self._scores = [0] * n_outputs

    def _check_tree(self, at, n_nodes, n_leaves):
        node, leaf, nodes, leaves, output, zero = struct.unpack_from("<IIHHHH", self._buf, at)
        if zero:
            _wrong(_RESERVED, at)
        if (
            not (node <= n_nodes and nodes <= n_nodes - node and nodes <= _LEAF)
            or not (leaf <= n_leaves and 0 < leaves <= n_leaves - leaf and leaves <= _LEAF)
            or output >= len(self._init)
        ):
            _wrong(_DATA, at)
        for i in range(nodes):
            here = self._nodes + 8 * (node + i)
            _, feature, left, right = struct.unpack_from("<hHHH", self._buf, here)
            if feature & 0x7FFF >= self._n:
                _wrong(_NODE, here)
            for child in (left, right):
                if child & _LEAF:
                    if child & 0x7FFF >= leaves:
                        _wrong(_NODE, here)
                elif not i < child < nodes:
                    _wrong(_NODE, here)

    def info(self):
        """(features, scores, whether the answer is a class)"""
        return self._n, len(self._scores), self._post != 0

    def predict(self, x):
        """The class, or the first score where the scores are the answer."""
        q = self._encoded(x)
        buf, scores = self._buf, list(self._init)
        for i in range(self._n_trees):
            tree = struct.unpack_from("<IIHHH", buf, self._trees + 16 * i)
            at = 0 if tree[2] else _LEAF
            first = self._nodes + 8 * tree[0]
            while not at & _LEAF:
                threshold, feature, left, right = struct.unpack_from("<hHHH", buf, first + 8 * at)
                value = q[feature & 0x7FFF]
                goes_left = feature >> 15 if value == _MISSING else value <= threshold
                at = left if goes_left else right
            leaf = self._leaves + (tree[1] + (at & 0x7FFF)) * self._leaf_len * self._width
            to = tree[4] if self._leaf_len == 1 else 0
            for value in struct.unpack_from(self._format, buf, leaf):
                scores[to] = _int32(scores[to] + value)
                to += 1
        self._scores = scores
        if self._post == 1:
            return scores.index(max(scores))
        return int(scores[0] >= 0) if self._post else scores[0]

    def scores(self, out):
        """Those of the last predict(), into array('i')."""
        _copied(out, self._scores)


class Neighbours(_File):
    """_qnn.Neighbours; see docs/model-trees.md."""

    def __init__(self, buf):
        super().__init__(buf, 3, 32)
        body = self._body
        self._n, n_outputs, self._k, width, self._weighted, self._classes = struct.unpack_from(
            "<HHBBBB", buf, body
        )
        features, self._keys, n_keys, self._vectors, self._count, self._answers = (
            struct.unpack_from("<6I", buf, body + 8)
        )
        if (
            0 in (self._n, n_outputs, self._k)
            or self._k > _MAX_K
            or self._k > self._count
            or width not in (1, 2)
            or self._weighted > 1
            or self._classes > 1
        ):
            _wrong(_BODY, body)
        self._stride = (self._n * width + 3) & ~3
        self._format = "<%d%s" % (self._n, "b" if width == 1 else "h")
        self._table(features, self._n, 24)
        self._table(self._keys, n_keys, 4)
        self._table(self._vectors, self._count, self._stride)
        self._table(self._answers, self._count, 2 if self._classes else 4 * n_outputs)
        self._check_features(features, n_keys)
        for i, r in enumerate(self._features):
            if width == 1 and (r[8] < -128 or r[9] > 127):
                _wrong(_VALUE, features + 24 * i)
        if self._classes:
            for at in range(self._answers, self._answers + 2 * self._count, 2):
                if struct.unpack_from("<H", buf, at)[0] >= n_outputs:
                    _wrong(_NODE, at)
        self._scores = [0] * n_outputs
        self._query = [0] * self._n
        self._start()

    def _start(self):
        self._next = 0
        self._found = []  # (squared distance, index), rising

    def info(self):
        """(features, scores, whether the answer is a class)"""
        return self._n, len(self._scores), bool(self._classes)

    def begin(self, x):
        """Start a search."""
        query = self._encoded(x)
        if _MISSING in query:
            raise ValueError("a feature is not a number")
        self._query = query
        self._start()

    def step(self, budget):
        """About so many MACs, at least one vector; True while more remains."""
        self._look(max(1, budget // self._n))
        if self._next < self._count:
            return True
        self._score()
        return False

    def _look(self, vectors):
        end = min(self._count, self._next + vectors)
        found, k, query = self._found, self._k, self._query
        for i in range(self._next, end):
            row = struct.unpack_from(self._format, self._buf, self._vectors + i * self._stride)
            d = 0
            for j, b in enumerate(row):
                b -= query[j]
                d += b * b
            if len(found) == k and d >= found[-1][0]:
                continue
            at = len(found)
            # Of equal distances the vector that came first stays nearer.
            while at and found[at - 1][0] > d:
                at -= 1
            found.insert(at, (d, i))
            del found[k:]
        self._next = end

    def predict(self, x=None):
        """The class, or the first mean; without x that of the search that is done."""
        if x is not None:
            self.begin(x)
        self._look(self._count)
        self._score()
        if not self._classes:
            return self._scores[0]
        return self._scores.index(max(self._scores))

    def _weights(self):
        distances = [d for d, _ in self._found]
        if not self._weighted:
            return [1] * self._k
        if distances[0] == 0:
            return [int(d == 0) for d in distances]
        roots = [_root(d << 32) if d >> 32 == 0 else _root(d) << 16 for d in distances]
        raw = [(1 << 47) // root for root in roots]
        total = sum(raw)
        return [(w << 24) // total for w in raw]

    def _score(self):
        weights = self._weights()
        n = len(self._scores)
        sums = [0] * n
        for at, (_, i) in enumerate(self._found):
            w = weights[at]
            if self._classes:
                sums[struct.unpack_from("<H", self._buf, self._answers + 2 * i)[0]] += w
                continue
            first = self._answers + 4 * n * i
            for j, target in enumerate(struct.unpack_from("<%di" % n, self._buf, first)):
                sums[j] += w * target
        if not self._classes:
            total = sum(weights)
            sums = [
                (s + total // 2) // total if s >= 0 else -((total // 2 - s) // total) for s in sums
            ]
        self._scores = sums

    def scores(self, out):
        """Those of the last search, into array('i')."""
        _copied(out, self._scores)

    def distance(self):
        """That of the nearest vector so far, in the features' scale, rounded down."""
        if not self._found:
            raise ValueError("nothing was searched for")
        return _root(self._found[0][0])


def _root(x):
    """Integer square root, rounded down."""
    root = 1 << (_bits(x) + 1) // 2
    while True:
        better = (root + x // root) // 2
        if better >= root:
            return root if x else 0
        root = better


def _bits(x):
    n = 0
    while x:
        x >>= 1
        n += 1
    return n
