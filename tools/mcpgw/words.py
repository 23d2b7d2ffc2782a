"""How counts are said."""


def counted(n, one, many=None):
    """A number with its noun: "1 record", "2,000 records". one: the noun for one (str); many: for
    others, where that is not `one` with an s."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
