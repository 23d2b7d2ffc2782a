"""Rows of the benchmarks' table."""

from dataclasses import dataclass


@dataclass
class Row:
    """what, value: as shown; limit: the budget as text, "" if none; ok: None without a budget."""

    what: str
    value: str
    limit: str = ""
    ok: bool | None = None


def below(what, value, limit, shown, unit):
    """A Row that is ok while value < limit."""
    return Row(what, shown, f"< {limit} {unit}", value < limit)
