"""Writing .mgt files, and reading them back; docs/tokenizer-format.md says what is in them."""

import struct
import zlib
from collections import defaultdict

from . import triebuilder
from .vocabulary import DEEPEST, LONGEST, Vocabulary, VocabularyError

HEADER = struct.Struct("<4sHBBIIIIIIIIHHiiIBBBBI")
SECTIONS = ("runs", "order", "literals", "pool", "splits", "displacement", "slots", "trie")
HEADER_SIZE = HEADER.size + 8 * len(SECTIONS)
MAGIC, VERSION = b"MGT1", 1
NONE = 0xFFFFFFFF
MASK = 0xFFFFFFFF


def pack(vocabulary):
    """The bytes of the file. Raises VocabularyError where a limit of the format is exceeded."""
    tokens = vocabulary.tokens()
    atoms = 256 + len(vocabulary.chars)
    wholes = atoms + len(vocabulary.wholes)
    merges = wholes + len(vocabulary.others)
    _check_limits(vocabulary, tokens)
    text_tokens = {text: at for at, (text, _) in enumerate(tokens) if not wholes <= at < merges}
    if len(text_tokens) != len(tokens) - len(vocabulary.others):
        raise VocabularyError("two tokens have the same text")
    specials = {
        text: wholes + at
        for at, (text, id) in enumerate(vocabulary.others)
        if id in vocabulary.specials
    }
    pairs = [(text_tokens[left], text_tokens[right]) for left, right, _ in vocabulary.merges]
    _check_depth(pairs, merges)
    bits = next(bits for bits in (12, 16, 20) if len(tokens) <= 1 << bits)
    ref = 2 if len(tokens) < 1 << 15 else 3
    trie, special = triebuilder.build(text_tokens, specials, ref)
    if len(trie) > 1 << 15 and ref == 2:
        ref = 3
        trie, special = triebuilder.build(text_tokens, specials, ref)
    pair_bits, displacement, slots = perfect_hash(
        dict(zip(pairs, range(merges, len(tokens)), strict=True))
    )
    runs, order = _runs([id for _, id in tokens])
    literals = [text for text, _ in tokens[256:merges]]
    ends = [0]
    for text in literals:
        ends.append(ends[-1] + len(text))
    sections = {
        "runs": b"".join(struct.pack("<II", *run) for run in runs),
        "order": b"".join(at.to_bytes(2, "little") for at in order),
        "literals": b"".join(end.to_bytes(ref, "little") for end in ends),
        "pool": b"".join(literals),
        "splits": b"".join((a | b << bits).to_bytes(bits // 4, "little") for a, b in pairs),
        "displacement": displacement,
        "slots": b"".join(
            (MASK if token is None else token).to_bytes(4, "little")[:ref] for token in slots
        ),
        "trie": trie,
    }
    at = HEADER_SIZE
    table = []
    for name in SECTIONS:
        table += [at, len(sections[name])]
        at += len(sections[name])
    fields = (
        vocabulary.flags,
        len(tokens),
        atoms,
        wholes,
        merges,
        max(id for _, id in tokens) + 1,
        max(map(len, text_tokens)),
        max(map(len, specials), default=0),
        vocabulary.bos,
        vocabulary.eos,
        special,
        ref,
        bits,
        pair_bits,
        0,
        len(slots),
    )
    head = (MAGIC, VERSION, vocabulary.style, vocabulary.digits, at)
    body = HEADER.pack(*head, 0, *fields) + struct.pack(f"<{len(table)}I", *table)
    body += b"".join(sections[name] for name in SECTIONS)
    return sealed(body)


def sealed(data):
    """The file with its checksum put right."""
    crc = zlib.crc32(data[16:], zlib.crc32(data[:12]))
    return data[:12] + crc.to_bytes(4, "little") + data[16:]


def _check_limits(vocabulary, tokens):
    if len(vocabulary.byte_ids) != 256:
        raise VocabularyError("there must be a token for each of the 256 bytes")
    if len(tokens) > 1 << 20 or any(not 0 <= id < 1 << 20 for _, id in tokens):
        raise VocabularyError("more than 1,048,576 tokens")
    if len({id for _, id in tokens}) != len(tokens):
        raise VocabularyError("two tokens have the same number")
    for text, id in tokens:
        if not 1 <= len(text) <= LONGEST:
            raise VocabularyError(
                f"token {id} is {len(text)} bytes long; 1 to {LONGEST} are possible"
            )


def _check_depth(pairs, merges):
    """How many right halves wait while the left ones are read, at most; see bpe_bytes()."""
    depth = {}
    for token, (left, right) in enumerate(pairs, merges):
        depth[token] = max(depth.get(left, 0) + 1, depth.get(right, 0))
        if depth[token] > DEEPEST:
            raise VocabularyError(
                f"a token is made of more than {DEEPEST} merges one in the other"
            )


def _runs(ids):
    """([(ours, public)], order): where public numbers do not go on as ours do."""
    runs = [(0, ids[0])]
    for at in range(1, len(ids)):
        if ids[at] != ids[at - 1] + 1:
            runs.append((at, ids[at]))
    if len(runs) > 0xFFFF:
        raise VocabularyError("the numbers of the tokens are too unlike the order of the merges")
    return runs, sorted(range(len(runs)), key=lambda at: runs[at][1])


def hash_pair(a, b):
    """Two numbers of 32 bits: what tells the bucket, and what tells pairs in a bucket apart."""
    first = a * 0x9E3779B1
    h = (first + b * 0x85EBCA6B) & MASK
    h = ((h ^ h >> 15) * 0x2C1B3C6D) & MASK
    return h, (h + first) & MASK


def perfect_hash(values):
    """(bits, displacement, slots) for {(a, b): value}: the value of a pair lies in the slot that
    its hash and the displacement of its bucket give."""
    if not values:
        return 1, bytes(2), []
    bits = max(1, (len(values) // 4).bit_length())
    buckets = defaultdict(list)
    for pair, value in values.items():
        h, key = hash_pair(*pair)
        buckets[h >> (32 - bits)].append((key, value))
    for bucket in buckets.values():
        if len({key for key, _ in bucket}) != len(bucket):
            raise VocabularyError("two pairs of tokens have the same hash")
    count = len(values) + len(values) // 25 + 1
    while (found := _displace(buckets, bits, count)) is None:
        count += count // 50 + 1
    return bits, *found


def _displace(buckets, bits, count):
    # Only here: to look into a vocabulary takes no numpy.
    import numpy as np

    displacement, slots = bytearray(1 << bits), [None] * count
    taken = np.zeros(count, bool)
    flips = np.arange(256, dtype=np.uint64) * np.uint64(0x27D4EB2F) & np.uint64(MASK)
    for number, bucket in sorted(buckets.items(), key=lambda item: -len(item[1])):
        # Where the pairs (rows) would lie with each displacement (columns).
        keys = np.array([[key] for key, _ in bucket], np.uint64)
        x = (keys ^ flips) * np.uint64(0x165667B1) & np.uint64(MASK)
        places = (x * np.uint64(count) >> np.uint64(32)).astype(np.int64)
        for d in np.flatnonzero(~taken[places].any(axis=0)):
            if len(set(places[:, d].tolist())) == len(bucket):
                break
        else:
            return None
        displacement[number] = d
        taken[places[:, d]] = True
        for at, (_, value) in zip(places[:, d].tolist(), bucket, strict=True):
            slots[at] = value
    return bytes(displacement), slots


def unpack(data):
    """The Vocabulary in a file; raises VocabularyError if it is none. Only what is needed to list
    its tokens is read: the tables for looking up are the C core's business."""
    if len(data) < HEADER_SIZE or data[:4] != MAGIC:
        raise VocabularyError("not a tokenizer file")
    fields = HEADER.unpack_from(data)
    _, version, style, digits, size, crc, flags, count, atoms, wholes, merges = fields[:11]
    if version != VERSION:
        raise VocabularyError(f"version {version} of the format is not known")
    if size > len(data) or crc != zlib.crc32(data[16:size], zlib.crc32(data[:12])):
        raise VocabularyError("the file is cut short or damaged")
    bos, eos, _, ref, bits = fields[14:19]
    part = {}
    for at, name in enumerate(SECTIONS):
        offset, length = struct.unpack_from("<II", data, HEADER.size + 8 * at)
        part[name] = data[offset : offset + length]
    texts = [bytes([byte]) for byte in range(256)]
    ends = [
        int.from_bytes(part["literals"][at : at + ref], "little")
        for at in range(0, len(part["literals"]), ref)
    ]
    texts += [part["pool"][a:b] for a, b in zip(ends, ends[1:], strict=False)]
    pairs = []
    for at in range(0, len(part["splits"]), bits // 4):
        both = int.from_bytes(part["splits"][at : at + bits // 4], "little")
        pairs.append((texts[both & (1 << bits) - 1], texts[both >> bits]))
        texts.append(b"".join(pairs[-1]))
    runs = list(struct.iter_unpack("<II", part["runs"])) + [(count, 0)]
    ids = []
    for (first, public), (end, _) in zip(runs, runs[1:], strict=False):
        ids += range(public, public + end - first)
    rows = list(zip(texts, ids, strict=True))
    return Vocabulary(
        style=style,
        digits=digits,
        flags=flags,
        byte_ids=ids[:256],
        chars=rows[256:atoms],
        wholes=rows[atoms:wholes],
        others=rows[wholes:merges],
        specials={ids[token] for token in triebuilder.tokens(part["trie"], fields[16], ref)},
        merges=[(left, right, id) for (left, right), id in zip(pairs, ids[merges:], strict=True)],
        bos=bos,
        eos=eos,
    )
