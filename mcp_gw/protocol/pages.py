"""Lists in pages.

A list has two groups of rows: what is registered here, and what others add. Every row has a number
that it keeps as long as it is there, and numbers are never used twice. A cursor names the group
and the number of the last row given out, so that pages fit together when rows come and go.
"""

from ..errors import INVALID_PARAMS, ProtocolError


def cursor_of(params):
    """(group, number) after which the page begins that `params` (dict) ask for."""
    cursor = params.get("cursor")
    if cursor is None:
        return 0, 0
    try:
        group, _, number = cursor.partition("-")
        after = int(group), int(number, 16)
        if 0 <= after[0] <= 1 and after[1] >= 0:
            return after
    except (ValueError, AttributeError):
        pass
    raise ProtocolError(INVALID_PARAMS, "unknown cursor")


def page(after, head, own, more, size):
    """Members (parts) of a result: at most `size` rows after the cursor.

    head: JSON text up to the rows; own, more: functions(number) yielding (number, JSON bytes).
    """
    group, number = of, last = after
    parts = [head]
    while group < 2:
        for seq, row in (more if group else own)(number):
            if not size:
                parts.append(b'],"nextCursor":"%d-%x"' % (of, last))
                return parts
            if len(parts) > 1:
                parts.append(b",")
            parts.append(row)
            of = group
            last = seq
            size -= 1
        group += 1
        number = 0
    parts.append(b"]")
    return parts
