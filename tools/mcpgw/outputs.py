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
