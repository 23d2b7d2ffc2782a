"""mcp-edge.toml compiled for a board: JSON with the same sections, on one line, with a checksum at
its end. mcp_gw/edge.py reads it; read_compiled() here does so with the same code."""

import json
from binascii import crc32

from mcp_gw import edge
from mcp_gw.errors import ConfigError as OptionError

from .fields import ConfigFileError, check_fields, nearest, parse_document, read_document
from .table import BOARD_SECTIONS, MAX_UPSTREAMS, NAMED, OTHERS, QUEUEABLE, SECTIONS, name

# Keys whose content is hidden unless it is asked for, in each section.
SECRETS = {
    section: [key for key, known in fields.items() if known.secret]
    for section, (_, fields, _) in SECTIONS.items()
}
HIDDEN = "(hidden)"


def check_file(path):
    """The board's sections of a TOML file as a dict. Raises ConfigFileError with all that is
    wrong."""
    return check_document(read_document(path))


def check_text(text, path="mcp-edge.toml"):
    """The same of text."""
    return check_document(parse_document(text.encode(), path))


def check_document(document):
    """The board's sections of a Document; sections of the Pi are left to it."""
    found = {}
    for section, table in document.data.items():
        if section in OTHERS:
            continue
        if section == "routing":
            found[section] = check_routing(document, table)
            continue
        if section not in SECTIONS:
            known = (*BOARD_SECTIONS, *OTHERS)
            what = "section" if isinstance(table, dict) else "key outside of sections"
            document.problem((section,), f"no {what} {section}{nearest(section, known)}")
            continue
        _, fields, needed = SECTIONS[section]
        if section in NAMED:
            named = _check_named(document, section, table, fields, needed)
            if named:
                found[section] = named
        else:
            found[section] = check_fields(document, (section,), table, fields, needed)
    if not document.problems:
        _check_together(document, found)
    document.done()
    size = len(compile_config(found))
    if size > edge.MAX_FILE:
        raise ConfigFileError(
            [f"{document.path}: {size} bytes compiled; a board reads {edge.MAX_FILE} at most"]
        )
    return found


def _check_named(document, section, table, fields, needed):
    if not isinstance(table, dict):
        document.problem((section,), f"{section} has a section for each: [{section}.NAME]")
        return {}
    if len(table) > MAX_UPSTREAMS:
        told = f"{len(table)} {section}; a board takes {MAX_UPSTREAMS}"
        document.problem((section,), told)
    found = {}
    for key, inner in table.items():
        at = (section, key)
        if key in fields and not isinstance(inner, dict):
            told = f"{key} belongs into a section [{section}.NAME]"
            document.problem(at, told)
            continue
        try:
            name(key)
        except ValueError as e:
            document.problem(at, f"{key!r} is no name for one of the {section}: {e}")
        tools = None
        if isinstance(inner, dict) and isinstance(inner.get("queueable"), dict):
            tools = inner["queueable"]
            inner = {k: v for k, v in inner.items() if k != "queueable"}
        found[key] = check_fields(document, at, inner, fields, needed)
        if tools is not None:
            found[key]["queueable"] = _check_queueable(document, (*at, "queueable"), tools)
    return found


_DEVICES = {
    "flash": ((), ()),
    "spi": (("bytes", "start", "bus", "hz", "cs", "sck", "mosi", "miso"), ("cs",)),
    "file": (("bytes", "path"), ("path",)),
    "ram": (("bytes",), ()),
}


def _check_queue(document, row):
    """Of [queue], which keys go with which device."""
    device = row.get("device", "flash")
    known, needed = _DEVICES[device]
    for key in row:
        if key not in (*known, "device", "overflow"):
            told = f"{key} in [queue] is not for device {device}"
            document.problem(("queue", key), told)
    for key in needed:
        if key not in row:
            document.problem(("queue", "device"), f"device {device} in [queue] needs a {key}")
    for key in ("bytes", "start"):
        if row.get(key, 0) % 4096:
            document.problem(("queue", key), f"{key} in [queue] must be a multiple of 4096")


def _check_queueable(document, at, tools):
    found = {}
    for tool, row in tools.items():
        found[tool] = check_fields(document, (*at, tool), row, QUEUEABLE)
        if found[tool].get("policy", "all") != "all" and "key" not in found[tool]:
            told = f"policy of {tool} in [{'.'.join(at)}] needs a key"
            document.problem((*at, tool, "policy"), told)
    return found


def check_routing(document, table):
    """The section [routing] (docs/routing.md), checked key by key by the code that will use it."""
    if not isinstance(table, dict):
        document.problem(("routing",), "routing is a section: write [routing]")
        return {}
    from mcp_gw.route import rules

    for at, options in _routing_rows(table):
        try:
            rules.checked(options)
        except OptionError as e:
            why, unknown, known = str(e).partition("; known are: ")
            if unknown:
                why += nearest(at[-1], known.split(", "))
            document.problem(at, f"[routing] {why}")
    return table


def _routing_rows(table):
    """Yield (path of a key, options with just this key)."""
    for key, value in table.items():
        if key in ("tools", "upstreams") and isinstance(value, dict):
            for name, row in value.items():
                if isinstance(row, dict):
                    for option in row:
                        only = {key: {name: {option: row[option]}}}
                        yield ("routing", key, name, option), only
                else:
                    yield ("routing", key, name), {key: {name: row}}
        elif key == "profile":
            yield ("routing", key), {"profile": key}  # a function: apps have it
        else:
            yield ("routing", key), {key: value}


def _check_together(document, found):
    """What no key shows by itself."""
    http = found.get("http", {})
    serve = found.get("board", {}).get("serve", ())
    if "http" in serve and "http" not in found:
        document.problem(("board", "serve"), "serve has http, but there is no section [http]")
    if ("cert" in http) != ("key" in http):
        document.problem(("http",), "cert and key in [http] go together")
    if "client_ca" in http and "cert" not in http:
        document.problem(("http", "client_ca"), "client_ca in [http] needs cert and key")
    _check_queue(document, found.get("queue", {}))
    outside = http.get("host", "127.0.0.1") not in ("127.0.0.1", "::1", "localhost")
    if outside and not ("token" in http or "client_ca" in http or http.get("insecure")):
        document.problem(
            ("http", "host"),
            f"host {http['host']} in [http] lets others in: give a token, "
            "or insecure = true if everybody there may use every tool",
        )
    for upstream, row in found.get("upstreams", {}).items():
        at = ("upstreams", upstream)
        if "url" not in row:
            for key in row:
                if key not in ("offers", "queueable", "expiry_s", "same_as"):
                    told = f"{key} in [upstreams.{upstream}] needs a url"
                    document.problem((*at, key), told)
        elif row["url"].startswith("https:") and "ca" not in row and row.get("verify", True):
            document.problem(
                (*at, "url"),
                f"https in [upstreams.{upstream}] needs ca: a board knows no authorities itself",
            )
        if "token" in row and any(k.lower() == "authorization" for k in row.get("headers", ())):
            told = f"[upstreams.{upstream}] has a token and a header Authorization"
            document.problem((*at, "token"), told)


def compile_config(found):
    """Bytes of the file for a board, from checked sections (dict)."""
    rows = {"v": edge.VERSION}
    rows.update(found)
    text = json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode()
    return text[:-1] + b',"crc":"%08x"}' % crc32(text[:-1])


def read_compiled(data):
    """The sections in a board's file. Raises ValueError with what is wrong."""
    rows = edge.parse(data)
    return {key: table for key, table in rows.items() if key in BOARD_SECTIONS}


def merged(under, over):
    """The sections of both; where both have a key, that of `over` holds."""
    out = {section: dict(table) for section, table in under.items()}
    for section, table in over.items():
        mine = out.setdefault(section, {})
        for key, value in table.items():
            if section in NAMED:
                value = {**mine.get(key, {}), **value}
            mine[key] = value
    return out


def hidden(found):
    """The same sections with HIDDEN in place of what is secret."""
    shown = json.loads(json.dumps(found))
    for section, keys in SECRETS.items():
        tables = shown.get(section, {})
        for table in tables.values() if section in NAMED else [tables]:
            for key in keys:
                if key in table:
                    table[key] = _hide(table[key], key == "headers")
    return shown


def _hide(value, named):
    if isinstance(value, list):
        return [HIDDEN] * len(value)
    if isinstance(value, dict):  # headers by their names, tokens by those of their holders
        return dict.fromkeys(value, HIDDEN) if named else {HIDDEN: ", ".join(value.values())}
    return HIDDEN


def to_toml(found):
    """The sections as TOML text."""
    lines = []
    for section, table in found.items():
        for head, rows in _tables(section, table):
            lines += [""] if lines else []
            lines.append(f"[{head}]")
            lines += [f"{_key(key)} = {_value(value)}" for key, value in rows.items()]
    return "\n".join(lines) + "\n" if lines else ""


def _tables(section, table):
    if section in NAMED:
        return [(f"{section}.{_key(key)}", rows) for key, rows in table.items()]
    return [(section, table)]


def _key(key):
    bare = key and key.isascii() and all(c.isalnum() or c in "-_" for c in key)
    return key if bare else _string(key)


def _value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + "}"


def _string(text):
    # JSON's escapes are TOML's, but for those of characters that need none.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
