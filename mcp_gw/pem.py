"""Certificates and keys in PEM or DER form. The boards' TLS reads DER only."""

from binascii import a2b_base64

_BEGIN = b"-----BEGIN "
_END = b"-----END "


def certificates(data):
    """The DER certificates (list of bytes) in PEM or DER data. Raises ValueError."""
    if data[:1] == b"\x30":
        return [data]
    found = [der for label, der in _blocks(data) if label == b"CERTIFICATE"]
    if not found:
        raise ValueError("no certificate in PEM or DER form")
    return found


def private_key(data):
    """The private key in PEM or DER data: (DER as bytes, PEM label it has, such as b"EC PRIVATE
    KEY"). Raises ValueError."""
    if data[:1] == b"\x30":
        return data, _label(data)
    for label, der in _blocks(data):
        if label == b"ENCRYPTED PRIVATE KEY":
            raise ValueError("the private key is encrypted")
        if label[-11:] == b"PRIVATE KEY":
            return der, label
    raise ValueError("no private key in PEM or DER form")


def armoured(der, label):
    """PEM text (bytes) of one object in DER form."""
    from binascii import b2a_base64

    lines = [_BEGIN, label, b"-----\n"]
    for i in range(0, len(der), 48):
        lines.append(b2a_base64(der[i : i + 48]))
    lines.extend((_END, label, b"-----\n"))
    return b"".join(lines)


def _blocks(data):
    """Yield (label, DER) of each PEM block; what stands around them is comment."""
    for block in data.split(_BEGIN)[1:]:
        label, _, rest = block.partition(b"-----")
        text, end, _ = rest.partition(_END + label + b"-----")
        if not end:
            raise ValueError("PEM without its end: " + label[:40].decode("utf-8", "replace"))
        if b":" in text:
            raise ValueError("the private key is encrypted")
        yield label, a2b_base64(b"".join(text.split()))


def _label(der):
    """Which of the three forms of a private key this is: by its version, and what follows."""
    at = 2 + (der[1] & 0x7F if der[1:2] > b"\x7f" else 0)
    if der[at : at + 3] == b"\x02\x01\x01":
        return b"EC PRIVATE KEY"
    if der[at : at + 4] == b"\x02\x01\x00\x30":
        return b"PRIVATE KEY"
    if der[at : at + 4] == b"\x02\x01\x00\x02":
        return b"RSA PRIVATE KEY"
    raise ValueError("no private key in PEM or DER form")
