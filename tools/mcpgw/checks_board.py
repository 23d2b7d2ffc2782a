"""What `mcpgw doctor` finds on a board. Interrupts what runs there, and starts it again."""

import time

from . import UserError
from .checks import MISSING, NOTE, OK, Check
from .words import counted

# Runs on the board, whatever its firmware: each figure is absent where it cannot be had. The queue
# is only read.
_LOOK = """
import gc, os, sys, time
def look():
    d = {}
    try: d['time'], d['epoch'] = time.time(), time.gmtime(0)[0]
    except AttributeError: pass  # a port without a clock
    gc.collect()
    d['heap'] = gc.mem_free(), gc.mem_free() + gc.mem_alloc()
    try:
        import machine
        d['hz'] = machine.freq()
        d['id'] = ''.join('%02x' % b for b in machine.unique_id())
    except (ImportError, AttributeError): pass
    try:
        import mcp_gw
        d['gateway'] = getattr(mcp_gw, '__version__', '?')
        try:
            os.stat(mcp_gw.__file__)
            d['file'] = mcp_gw.__file__
        except (OSError, AttributeError): d['frozen'] = True
    except ImportError: pass
    try:
        import _mcpscan
        d['scan'] = True
    except ImportError: pass
    for name, path in (('root', '/'), ('rom', '/rom')):
        try:
            s = os.statvfs(path)
            d[name] = s[0] * s[3], s[0] * s[2]
        except OSError: pass
    try: d['files'] = sorted(os.listdir('/'))
    except OSError: d['files'] = []
    try:
        import board_flash
        d['map'] = board_flash.LFS_LEN, board_flash.QUEUE_START, board_flash.QUEUE_LEN
        d['problem'] = board_flash.problem
    except (ImportError, AttributeError): pass
    try:
        from mcp_gw.queue.nor import default_device
        from mcp_gw.queue.log import Log, NotAQueue
        device = default_device()
        if device:
            log = Log(device)
            try:
                log.mount()
                d['queue'] = log.count, log.free, log.capacity, log.damaged + log.corrupt
            except NotAQueue as e: d['queue_error'] = str(e)
    except ImportError: pass
    return d
"""
# The clock of a board that was never told the time begins in 2000, 2021 or 1970.
_SET_AFTER = 1_735_689_600  # 2025-01-01 UTC
_CLOCK_OFF_S = 60
_HEAP_LOW = 60 * 1024
_ROOM_LOW = 16 * 1024


def board(port):
    """Yield the Checks of the board on a serial port. Raises UserError when it does not answer."""
    from .remote import Remote

    yield _serving(port)
    with Remote(port) as remote:
        who = remote.identity()
        try:
            remote.exec(_LOOK)
            seen = remote.ask("look()")
        finally:
            remote.restart()
    yield _check("board", OK, f"{who['machine']}, id {seen.get('id', 'unknown')}")
    yield _check("firmware", OK, who["version"].split("; ")[-1] + _speed(seen))
    yield _gateway(seen)
    if "gateway" in seen:
        yield _scanner(seen)
    yield _heap(*seen["heap"])
    yield _files(seen)
    if "map" in seen:
        yield _flash_map(seen["map"])
    yield from _queue(seen)
    yield _clock(seen)
    yield _app(seen["files"])


def _check(what, state, found, todo=""):
    return Check("board", what, state, found, todo)


def _serving(port):
    """Whether a gateway answers now, before anything is interrupted."""
    import serial

    from .hello import NotServing, await_gateway
    from .remote import BAUD, why_not_open

    try:
        with serial.serial_for_url(port, BAUD, exclusive=True) as line:
            answer = await_gateway(line, 2, restarted=False)
    except (OSError, ValueError) as e:
        raise UserError(why_not_open(port, e)) from None
    except NotServing:
        return _check("gateway", NOTE, "none is serving", "mcpgw deploy APP")
    waiting = f", {counted(answer.pending, 'request')} waiting" if answer.pending else ""
    return _check("gateway", OK, f"{answer.name} {answer.version} is serving{waiting}")


def _gateway(seen):
    if "gateway" not in seen:
        return _check("mcp_gw", MISSING, "not on the board", "mcpgw flash BOARD")
    if "frozen" in seen:
        return _check("mcp_gw", OK, f"{seen['gateway']}, frozen")
    return _check(
        "mcp_gw",
        NOTE,
        f"{seen['gateway']}, from {seen['file']}",
        "files take heap: use firmware that has it frozen",
    )


def _scanner(seen):
    if "scan" in seen:
        return _check("_mcpscan", OK, "in C")
    return _check("_mcpscan", NOTE, "its slower Python twin", "mcpgw flash BOARD")


def _heap(free, total):
    found = f"{free // 1024} KB free of {total // 1024} KB at the REPL"
    state = OK if free >= _HEAP_LOW else NOTE
    return _check("heap", state, found, "" if state == OK else "a gateway wants more")


def _files(seen):
    if seen.get("problem"):
        return _check("files", MISSING, seen["problem"])
    if "root" not in seen:
        return _check("files", MISSING, "no file system is mounted", "mcpgw flash BOARD")
    free, total = seen["root"]
    found = f"{free // 1024} KB free of {total // 1024} KB"
    if free < _ROOM_LOW:
        return _check("files", NOTE, found, "mcpgw deploy needs room beside the old files")
    return _check("files", OK, found)


def _flash_map(regions):
    files, start, length = regions
    state = OK if start >= files else MISSING
    found = f"files {files // 1024} KB, queue {length // 1024} KB"
    return _check("flash map", state, found, "" if state == OK else "the regions overlap")


def _queue(seen):
    if "queue_error" in seen:
        todo = "empty it: import board_flash; board_flash.factory_reset(queue=True)"
        yield _check("queue", MISSING, seen["queue_error"], todo)
    elif "queue" in seen:
        count, free, capacity, bad = seen["queue"]
        found = f"{counted(count, 'record')}, {free // 1024} KB free of {capacity // 1024} KB"
        yield _check("queue", NOTE if bad else OK, found + (f", {bad} damaged" if bad else ""))
    elif "gateway" in seen:
        yield _check("queue", NOTE, "this board has no region for one")


def _clock(seen):
    if "time" not in seen:
        return _check("clock", NOTE, "this board has none")
    # time.time() counts from 2000 on some ports.
    now = seen["time"] + (946_684_800 if seen["epoch"] == 2000 else 0)
    if now < _SET_AFTER:
        return _check("clock", NOTE, "not set", "a bridge sets it: mcpgw bridge")
    off = round(now - time.time())
    if abs(off) > _CLOCK_OFF_S:
        return _check("clock", NOTE, f"{abs(off)} s {'ahead' if off > 0 else 'behind'}")
    return _check("clock", OK, "right")


def _app(files):
    deployed = ", put there by mcpgw deploy" if ".mcpgw" in files else ""
    for name in ("main.py", "main.mpy"):
        if name in files:
            return _check("app", OK, name + deployed)
    return _check("app", NOTE, "no main.py", "mcpgw deploy APP")


def _speed(seen):
    return f", {seen['hz'] // 1_000_000} MHz" if "hz" in seen else ""
