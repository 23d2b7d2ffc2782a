"""Where a command writes its file."""

from . import UserError


def check_output(path, *sources):
    """UserError, before any work is done, where a file cannot be written at `path`, or would take
    the place of one of `sources`, files that are read."""
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent}")
    if path.is_dir():
        raise UserError(f"{path} is a folder: name a file in it")
    if path.exists() and any(path.samefile(source) for source in sources):
        raise UserError(f"{path} is read and cannot be written over: name another file with -o")


def write_output(path, data):
    """Write a file of bytes. UserError where that fails, as on a full disk: then what was there
    before is there still, and no part of a new file."""
    if path.exists() and not path.is_file():  # a device, a pipe
        path.write_bytes(data)
        return
    beside = path.with_name(path.name + ".part")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as e:
        beside.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {e.strerror}") from e
