"""Where each value of a program lies in the arena: by live ranges, before the model is written."""

ALIGN = 8


def plan(program):
    """
    Sets the offset of every storage of a Program, and its arena.

    Inputs live from the start, outputs to the end; an output may take the memory of an input that
    nothing reads afterwards, where its operator allows that.
    """
    storages = _live_ranges(program)
    _share(program)
    storages = _live_ranges(program)
    best = None
    # No order is always best; with a few dozen storages trying several costs nothing.
    for key in (
        lambda s: (-s.size, s.first),
        lambda s: (-(s.last - s.first), -s.size),
        lambda s: (-s.size * (1 + s.last - s.first), s.first),
        lambda s: (s.first, -s.size),
    ):
        offsets, end = _place(sorted(storages, key=key))
        if best is None or end < best[1]:
            best = (offsets, end)
    for storage, offset in best[0]:
        storage.offset = offset
    program.arena = best[1]


def _storages(program):
    seen = {}
    for value in program.values():
        seen.setdefault(id(value.storage), value.storage)
    for op in program.ops:
        if op.storage is not None:
            seen.setdefault(id(op.storage), op.storage)
    return list(seen.values())


def _live_ranges(program):
    end = len(program.ops)
    storages = _storages(program)
    for storage in storages:
        storage.first, storage.last = end, -1
    for i, op in enumerate(program.ops):
        used = [v.storage for v in (*op.inputs, op.y)]
        if op.storage is not None:
            used.append(op.storage)
        for storage in used:
            storage.first = min(storage.first, i)
            storage.last = max(storage.last, i)
    for value in program.inputs:
        value.storage.first = -1
        value.storage.last = max(value.storage.last, -1)
    for value in program.outputs:
        value.storage.first = min(value.storage.first, end)
        value.storage.last = end
    return storages


def _share(program):
    """Lets outputs take their inputs' storage."""
    for i, op in enumerate(program.ops):
        for value in op.in_place:
            old, new = op.y.storage, value.storage
            if old is new or old.size != new.size or new.last != i or old.first != i:
                continue
            # Every view of the output moves along.
            for other in program.values():
                if other.storage is old:
                    other.storage = new
            new.last = old.last
            break


def _place(storages):
    """([(storage, offset)], bytes in all): each at the lowest place free throughout its life."""
    placed = []
    for storage in storages:
        taken = sorted(
            (at, at + s.size)
            for s, at in placed
            if s.first <= storage.last and storage.first <= s.last
        )
        at = 0
        for begin, end in taken:
            if at + storage.size <= begin:
                break
            at = max(at, end + (-end % ALIGN))
        placed.append((storage, at))
    end = max((at + s.size for s, at in placed), default=0)
    return placed, end + (-end % ALIGN)
