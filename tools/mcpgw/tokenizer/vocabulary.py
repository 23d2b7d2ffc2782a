"""A vocabulary on the host, whatever it was read from, and what merging makes of texts with it."""

from dataclasses import dataclass, field

from .. import UserError

# The numbers of docs/tokenizer-format.md.
STYLES = ("whole", "spaces", "gpt2", "cl100k", "o200k")
WHOLE, SPACES, GPT2, CL100K, O200K = range(5)
PREFIX, PREFIX_UNLESS, PREFIX_EACH, TRAILING, LOWER_STEMS = 1, 2, 4, 8, 16
FLAGS = {
    PREFIX: "a space is thought before a text",
    PREFIX_UNLESS: "a space is thought before a text that does not begin with one",
    PREFIX_EACH: "also after a special token",
    TRAILING: "white space at the end is one piece",
    LOWER_STEMS: "U+2581 stands for a space",
}
LONGEST = 1023
DEEPEST = 64


class VocabularyError(UserError):
    """A tokenizer that the format cannot hold, or a file that is none."""


@dataclass
class Vocabulary:
    """Tokens by kind. `bytes` below: the token's text; id: its public number."""

    style: int
    byte_ids: list  # of the token for each byte 0..255
    digits: int = 0  # at most so many in a piece, 0: any number
    flags: int = 0
    chars: list = field(
        default_factory=list
    )  # (bytes, id): tokens of one character of 2 to 4 bytes
    wholes: list = field(default_factory=list)  # (bytes, id): only for a piece that is this token
    others: list = field(default_factory=list)  # (bytes, id): never made from text by merging
    specials: set = field(default_factory=set)  # ids of those `others` that are special tokens
    merges: list = field(default_factory=list)  # (left bytes, right bytes, id), first one first
    bos: int = -1
    eos: int = -1

    def tokens(self):
        """[(bytes, id)] in the order of the file."""
        found = [(bytes([byte]), id) for byte, id in enumerate(self.byte_ids)]
        found += self.chars + self.wholes + self.others
        return found + [(left + right, id) for left, right, id in self.merges]


def merged(parts, rank_of, limit=None):
    """The parts (a list of bytes) after all merges, best rank first, of those the leftmost.

    rank_of(left, right): a number or None; merges with a rank of `limit` or more are not made.
    """
    parts = list(parts)
    while len(parts) > 1:
        ranks = [rank_of(left, right) for left, right in zip(parts, parts[1:], strict=False)]
        best = min((rank for rank in ranks if rank is not None), default=None)
        if best is None or (limit is not None and best >= limit):
            break
        at = ranks.index(best)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def atoms_of(text, chars):
    """The smallest tokens of a text: characters that are tokens (a set), else bytes."""
    if not chars:
        return [text[i : i + 1] for i in range(len(text))]
    parts = []
    for character in text.decode("utf-8", "surrogateescape"):
        data = character.encode("utf-8", "surrogateescape")
        parts += [data] if data in chars else [data[i : i + 1] for i in range(len(data))]
    return parts


def order_merges(candidates, rank_of, chars=()):
    """Sort tokens that may come from merging into (merges, unreachable).

    candidates: [(bytes, id, rank)], rank being what rank_of() gives for the merge that makes it,
    best first. merges: [(left, right, id)]; unreachable: [(bytes, id)]. Raises VocabularyError
    where no training can have given this order.
    """
    merges, unreachable = [], []
    for text, id, rank in candidates:
        parts = merged(atoms_of(text, chars), rank_of, rank)
        if len(parts) == 2 and rank_of(*parts) == rank:
            merges.append((parts[0], parts[1], id))
        else:
            unreachable.append((text, id))
    reached = {id for _, _, id in merges}
    unreachable = [row for row in dict.fromkeys(unreachable) if row[1] not in reached]
    for text, id in unreachable:
        if merged(atoms_of(text, chars), rank_of) == [text]:
            raise VocabularyError(
                f"token {id} ({text!r}) is merged before what it is made of: such an order is not"
                " supported"
            )
    return merges, unreachable
