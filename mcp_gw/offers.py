"""Prompts and resource templates: what a gateway may offer beside tools and plain resources."""

from .errors import ConfigError
from .registry import Item

_HEX = b"0123456789ABCDEFabcdef"


class Prompt(Item):
    """A prompt: its parameters are str Params, whose `complete` or `enum` serve for completion."""

    what = "prompt"

    def __init__(self, name, func, declared, description="", **options):
        super().__init__(name, func, declared)
        self.description = description
        rows = []
        for key, param in self.params.items():
            if param.kind is not str:
                raise ConfigError("prompt %s: argument %s must be a str" % (name, key))
            row = {"name": key, "required": param.required}
            if param.description:
                row["description"] = param.description
            rows.append(row)
        row = {"name": name}
        if rows:
            row["arguments"] = rows
        self._describe(row, dict(options, description=description))


class Template(Item):
    """A resource template: a URI with {variables} (RFC 6570, level 1, and {+reserved}).

    The function gets each variable, percent-decoded, under its name.
    """

    what = "resource template"

    def __init__(self, uri, func, declared, name, mime_type=None, **options):
        if ":" not in uri:
            raise ConfigError("template %r: a URI has a scheme" % uri)
        super().__init__(uri, func, declared)
        self.mime_type = mime_type
        self._pieces, self._names = _split(uri)
        names = [key.lstrip("+") for key in self._names]
        for key, param in self.params.items():
            if key not in names or param.kind is not str:
                raise ConfigError(
                    "template %s: %s is no variable of it that is a str" % (uri, key)
                )
        if len(set(names)) < len(names):
            raise ConfigError("template %s: a variable occurs twice" % uri)
        for key in names:
            if key not in self.params:
                from .params import Param

                self.params[key] = Param(str)
        self._describe({"uriTemplate": uri, "name": name}, dict(options, mimeType=mime_type))

    def match(self, uri):
        """The variables (dict) of a URI that this template makes, or None."""
        pieces = self._pieces
        if not uri.startswith(pieces[0]):
            return None
        at = len(pieces[0])
        found = {}
        for i, name in enumerate(self._names):
            piece = pieces[i + 1]
            end = uri.find(piece, at) if piece else len(uri)
            if piece and i == len(self._names) - 1:
                end = len(uri) - len(piece) if uri.endswith(piece) else -1
            if end <= at:
                return None
            value = uri[at:end]
            if name[0] != "+" and "/" in value:
                return None
            found[name.lstrip("+")] = _decoded(value)
            at = end + len(piece)
        return found if at == len(uri) else None


def _split(uri):
    """(literal pieces, names between them) of a template."""
    first, *rest = uri.split("{")
    pieces = [first]
    names = []
    for part in rest:
        name, found, piece = part.partition("}")
        plain = name.lstrip("+")
        if (
            not found
            or not plain
            or not all(c.isalpha() or c.isdigit() or c == "_" for c in plain)
        ):
            raise ConfigError("template %r: variables are {name} or {+name}" % uri)
        if len(pieces) > 1 and not pieces[-1]:
            raise ConfigError("template %r: two variables without anything between" % uri)
        pieces.append(piece)
        names.append(name)
    return pieces, names


def _decoded(text):
    """`text` without percent-encoding; what is not well encoded stays as it is."""
    if "%" not in text:
        return text
    out = bytearray()
    data = text.encode()
    i = 0
    while i < len(data):
        digits = data[i + 1 : i + 3]
        if data[i] == 0x25 and len(digits) == 2 and all(c in _HEX for c in digits):
            out.append(int(digits, 16))
            i += 3
        else:
            out.append(data[i])
            i += 1
    try:
        return out.decode()
    except UnicodeError:
        return text
