"""Kind 4 of the model format in numpy, written from docs/model-llama.md: the oracle of the C core.

Integer() computes what the document specifies, in int64, bit by bit; Float() is the plain
transformer in float32. Neither calls any of the project's own code.
"""

import struct

import numpy as np

F32, INT8_ROW, INT8_GROUP, INT4_GROUP, INT16 = range(5)


class File:
    """Sizes and tensors; a matrix is (q (rows, groups, group), scales (rows, groups), e)."""

    def __init__(self, data):
        self.data = data
        assert data[:4] == b"MGM1" and struct.unpack_from("<H", data, 6) == (4,)
        (body,) = struct.unpack_from("<I", data, 24)
        names = ("dim", "hidden", "layers", "heads", "kv_heads", "size", "vocab", "positions")
        for name, value in zip(names, struct.unpack_from("<8I", data, body), strict=True):
            setattr(self, name, value)
        self.eps_at = body + 32
        self.bos, self.eos, rope, self.is_float = struct.unpack_from("<4I", data, body + 36)
        self.to_log2 = struct.unpack_from("<Ii", data, body + 52)
        self.q_dim, self.kv_dim = self.heads * self.size, self.kv_heads * self.size
        self.at = body + 64
        self.embedding = self.tensor(self.vocab, self.dim)
        self.classifier = self.tensor(self.vocab, self.dim)
        self.norm = self.tensor(self.dim)
        self.blocks = [self.block() for _ in range(self.layers)]
        dtype = "<f4" if self.is_float else "<i2"
        turns = np.frombuffer(data, dtype, self.positions * self.size, rope)
        turns = turns.reshape(self.positions, self.size // 2, 2)
        self.turns = turns if self.is_float else turns.astype(np.int64)

    def block(self):
        d, h, q, kv = self.dim, self.hidden, self.q_dim, self.kv_dim
        shapes = ((d,), (q, d), (kv, d), (kv, d), (d, q), (d,), (h, d), (d, h), (h, d))
        names = ("attn_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w1", "w2", "w3")
        block = {n: self.tensor(*shape) for n, shape in zip(names, shapes, strict=True)}
        block["k_exp"], block["v_exp"] = struct.unpack_from("<2i", self.data, self.at)
        self.at += 8
        return block

    def tensor(self, rows, columns=None):
        kind, at, scales, exponent = struct.unpack_from("<IIIi", self.data, self.at)
        self.at += 16
        count = rows * (columns or 1)
        if kind == F32:
            w = np.frombuffer(self.data, "<f4", count, at)
            return w.reshape(rows, columns) if columns else w
        if kind == INT16:
            return np.frombuffer(self.data, "<i2", rows, at).astype(np.int64), exponent
        align = 16 if kind == INT8_ROW else 32
        padded = -(-columns // align) * align
        groups = 1 if kind == INT8_ROW else padded // 32
        if kind == INT4_GROUP:
            packed = np.frombuffer(self.data, "u1", rows * padded // 2, at).reshape(-1, 4)
            q = np.zeros((len(packed), 8), np.int64)
            q[:, [0, 4, 2, 6]] = packed & 15
            q[:, [1, 5, 3, 7]] = packed >> 4
            q -= 8
        else:
            q = np.frombuffer(self.data, "u1", rows * padded, at).astype(np.int64) - 128
        s = np.frombuffer(self.data, "<i2", rows * groups, scales).astype(np.int64)
        return q.reshape(rows, groups, -1), s.reshape(rows, groups), exponent


# --- numbers -------------------------------------------------------------------------------------

EXP2 = np.array([round(2**15 * 2 ** (-i / 256)) for i in range(256)], np.int64)
SIGMOID = np.array(
    [min(65535, round(65536 / (1 + np.exp(-i / 16)))) for i in range(257)], np.int64
)
LIMIT = 1 << 30


def bits(n):
    return int(n).bit_length()


def shift(x, left):
    """x * 2^left, rounded down."""
    return x << left if left >= 0 else x >> min(-left, 63)


def scale(m, e):
    """The scale m * 2^e: (mantissa of 16 bits or 0, exponent)."""
    if m == 0:
        return 0, 0
    over = bits(m) - 16
    return int(shift(m, -over)), e + over


def times(a, b):
    return scale(a[0] * b[0], a[1] + b[1])


def fifteen(x):
    """(x with its largest magnitude in 15 bits, how far it was shifted right); 0, 0 for zeros."""
    m = int(np.abs(x).max())
    if m == 0:
        return x, 0
    s = bits(m) - 15
    return shift(x, -s), s


def quantise(p):
    """(int8 q, scale) with p about q * scale."""
    m = int(np.abs(p).max())
    if m == 0:
        return np.zeros(len(p), np.int64), (0, 0)
    s = bits(m) - 15
    m = int(shift(m, -s))
    inverse = (127 << 22) // m
    q = (shift(p, -s) * inverse + (1 << 21)) >> 22
    return q, scale(m * 33026, s - 22)


def apply(v, s, left, limit):
    """v * scale * 2^left as int, rounded, within +-limit."""
    t = (v * s[0]) >> 16
    n = s[1] + 16 + left
    if n >= 0:
        # Python's own integers: what lies beyond the limit is cut anyway.
        return np.clip(np.clip(t, -limit, limit) << min(n, 31), -limit, limit)
    n = min(-n, 32)
    return np.clip((t + (1 << (n - 1))) >> n, -limit, limit)


def isqrt32(n):
    root = int(np.sqrt(float(n)))
    while root * root > n:
        root -= 1
    while (root + 1) ** 2 <= n:
        root += 1
    return root


class Integer:
    """One run. step(token) -> (int logits, their scale)."""

    def __init__(self, data):
        self.f = File(data)
        f = self.f
        (self.eps,) = struct.unpack_from("<I", data, f.eps_at)
        self.pos = 0
        self.keys = np.zeros((f.layers, f.positions, f.kv_heads, f.size), np.int64)
        self.values = np.zeros_like(self.keys)
        self.key_scales = np.zeros((f.layers, f.positions, f.kv_heads), np.int64)
        self.value_scales = np.zeros_like(self.key_scales)
        self.first = np.zeros((f.layers, f.kv_heads, f.size), np.int64)
        self.to_log2 = f.to_log2
        self.long = max(0, bits(f.positions - 1) - 9)

    def step(self, token):
        f = self.f
        q, s, e = f.embedding
        t = (q[token] * s[token][:, None]).reshape(-1)[: f.dim]
        x = apply16(t, e + 16)
        for i, block in enumerate(f.blocks):
            x = self.add(x, block["wo"], *self.attention(i, block, x))
            x = self.add(x, block["w2"], *self.feed(block, x))
        self.pos += 1
        return self.multiply(f.classifier, *self.normalise(x, f.norm))

    def normalise(self, x, gains):
        g, ge = gains
        m = int(np.abs(x).max())
        if m == 0:
            return np.zeros(len(x), np.int64), (0, 0)
        x, s = fifteen(x)
        mean = int((x * x).sum()) // len(x)
        mean += self.eps >> min(2 * s, 63) if s >= 0 else self.eps << (-2 * s)
        k = (bits(mean) - 31) // 2
        root = isqrt32(shift(mean, -2 * k))
        r = scale((1 << 31) // root, -31 - k)
        q, s = quantise(x * g)
        s = times(s, r)
        return q, (s[0], s[1] + ge)

    def multiply(self, matrix, q, a):
        w, s, e = matrix
        rows, groups, group = w.shape
        padded = np.zeros(groups * group, np.int64)
        padded[: len(q)] = q
        acc = (w * padded.reshape(groups, group)).sum(2)
        extra = max(0, bits(groups * group - 1) - 9)
        by_row = groups == 1
        v = (acc >> extra) * s >> 8 if by_row else acc * s >> 8 >> extra
        return v.sum(1), (a[0], a[1] + e + 8 + extra)

    def add(self, x, matrix, q, a):
        v, s = self.multiply(matrix, q, a)
        return np.clip(x + apply(v, s, 16, LIMIT // 2), -LIMIT, LIMIT)

    def turn(self, v):
        """(A head after its rotation, how far it was shifted right)."""
        v, s = fifteen(v)
        c, n = self.f.turns[self.pos].T
        p = np.empty_like(v)
        p[0::2] = v[0::2] * c - v[1::2] * n
        p[1::2] = v[0::2] * n + v[1::2] * c
        return p, s - 14

    def attention(self, layer, block, x):
        f, t = self.f, self.pos + 1
        h, a = self.normalise(x, block["attn_norm"])
        qv, qs = self.multiply(block["wq"], h, a)
        kv, ks = self.multiply(block["wk"], h, a)
        vv, vs = self.multiply(block["wv"], h, a)
        for j in range(f.kv_heads):
            cut = slice(j * f.size, (j + 1) * f.size)
            p, s = self.turn(kv[cut])
            k = apply(p, (ks[0], ks[1] + s), -block["k_exp"], 1 << 23)
            if self.pos == 0:
                self.first[layer, j] = k
            q, s = quantise(k - self.first[layer, j])
            self.keys[layer, self.pos, j] = q
            self.key_scales[layer, self.pos, j] = cached(s, 0)
            q, s = quantise(vv[cut])
            self.values[layer, self.pos, j] = q
            self.value_scales[layer, self.pos, j] = cached(times(vs, s), block["v_exp"])
        out = []
        for j in range(f.heads):
            kv = j * f.kv_heads // f.heads
            p, turned = self.turn(qv[j * f.size : (j + 1) * f.size])
            q, s = quantise(p)
            s = times(times(qs, (s[0], s[1] + turned)), self.to_log2)
            m = (self.key_scales[layer, :t, kv] * s[0]) >> 16
            dots = (self.keys[layer, :t, kv] * q).sum(1)
            z = (dots * m) >> 8
            left = s[1] + block["k_exp"] + 24 + 8
            if left <= 0:
                z >>= min(-left, 31)
            else:
                most = LIMIT >> min(left, 30)
                z = np.clip(z, -most, most) << min(left, 30)
            d = z.max() - z
            p = np.where(d >> 8 < 16, EXP2[d & 255] >> np.minimum(d >> 8, 16), 0)
            total = int(p.sum())
            scales = self.value_scales[layer, :t, kv]
            s = bits(scales.max()) + self.long
            w = (p * scales) >> s
            acc = (self.values[layer, :t, kv] * w[:, None]).sum(0)
            assert np.abs(acc).max() < 1 << 31
            n = bits(total) - 16
            r = scale((1 << 31) // int(shift(total, -n)), -31 - n)
            left = 16 + r[1] + s + 7
            out.append(shift((acc * r[0]) >> 16, left))
        q, s = quantise(np.concatenate(out))
        return q, (s[0], s[1] + block["v_exp"] - 7)

    def feed(self, block, x):
        h, a = self.normalise(x, block["ffn_norm"])
        gate, gs = self.multiply(block["w1"], h, a)
        up, us = self.multiply(block["w3"], h, a)
        g = apply(gate, gs, 12, 1 << 22)
        m = np.abs(g)
        i = np.minimum(m >> 8, 255)
        sigma = SIGMOID[i] + (((SIGMOID[i + 1] - SIGMOID[i]) * (m & 255)) >> 8)
        sigma = np.where(m >= 1 << 16, 65535, sigma)
        sigma = np.where(g < 0, 65536 - sigma, sigma)
        u, s1 = fifteen((g * sigma) >> 16)
        v, s2 = fifteen(up)
        q, s = quantise(u * v)
        s = times(s, us)
        return q, (s[0], s[1] + s1 + s2 - 12)


def apply16(t, left):
    """t * 2^left, rounded, within +-LIMIT."""
    if left >= 0:
        return np.clip(t << min(left, 31), -LIMIT, LIMIT)
    n = min(-left, 32)
    return np.clip((t + (1 << (n - 1))) >> n, -LIMIT, LIMIT)


def cached(s, unit):
    """A scale as the cache keeps it: u16 in units of 2^unit."""
    n = s[1] - unit
    if n >= 0:
        return min(s[0] << min(n, 16), 65535)
    n = min(-n, 17)
    return min((s[0] + (1 << (n - 1))) >> n, 65535)


class Float:
    """The same model in floats."""

    def __init__(self, data, dtype=np.float32):
        f = self.f = File(data)
        self.dtype = dtype
        (self.eps,) = struct.unpack_from("<f", data, f.eps_at)
        self.pos = 0
        self.keys = np.zeros((f.layers, f.positions, f.kv_heads, f.size), dtype)
        self.values = np.zeros_like(self.keys)

    def step(self, token):
        f = self.f
        x = f.embedding[token].astype(self.dtype)
        t = self.pos + 1
        c, n = f.turns[self.pos].T
        for i, b in enumerate(f.blocks):
            h = self.normalise(x, b["attn_norm"])
            q = turn((b["wq"] @ h).reshape(f.heads, f.size), c, n)
            self.keys[i, self.pos] = turn((b["wk"] @ h).reshape(f.kv_heads, f.size), c, n)
            self.values[i, self.pos] = (b["wv"] @ h).reshape(f.kv_heads, f.size)
            each = f.heads // f.kv_heads
            k = np.repeat(self.keys[i, :t], each, 1)
            v = np.repeat(self.values[i, :t], each, 1)
            z = np.einsum("hd,thd->ht", q, k) / np.sqrt(self.dtype(f.size))
            p = np.exp(z - z.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            x = x + b["wo"] @ np.einsum("ht,thd->hd", p, v).reshape(-1)
            h = self.normalise(x, b["ffn_norm"])
            gate = b["w1"] @ h
            x = x + b["w2"] @ (gate / (1 + np.exp(-gate)) * (b["w3"] @ h))
        self.pos += 1
        return f.classifier @ self.normalise(x, f.norm)

    def normalise(self, x, gains):
        return x / np.sqrt((x * x).mean() + self.dtype(self.eps)) * gains


def turn(v, c, n):
    p = np.empty_like(v)
    p[:, 0::2] = v[:, 0::2] * c - v[:, 1::2] * n
    p[:, 1::2] = v[:, 0::2] * n + v[:, 1::2] * c
    return p


def sample(logits, s, temperature, top_p, random):
    """(token, state of the generator afterwards); temperature and top_p times 65536."""
    t = scale(temperature, -16)
    s = times(times(s, (47274, -15)), scale((1 << 31) // t[0], -31 - t[1]))
    d = int(logits.max()) - logits
    left = s[1] + 16 + 8
    z = [min(shift(int(each) * s[0] >> 16, left), 1 << 20) for each in d]
    weights = [int(EXP2[each & 255]) << 8 >> (each >> 8) if each >> 8 < 24 else 0 for each in z]
    total, least = sum(weights), 1
    if top_p < 65536:
        share = -(-total * top_p // 65536)
        fits = [w for w in set(weights) if w and sum(v for v in weights if v >= w) >= share]
        least = max(fits)
        total = sum(v for v in weights if v >= least)
    random = random or 0x9E3779B9
    random ^= random << 13 & 0xFFFFFFFF
    random ^= random >> 17
    random ^= random << 5 & 0xFFFFFFFF
    at = total * random >> 32
    for token, weight in enumerate(weights):
        if weight >= least:
            if at < weight:
                return token, random
            at -= weight
    raise AssertionError("the weights add up to the total")
