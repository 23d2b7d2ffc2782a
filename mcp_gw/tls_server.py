"""TLS for listeners: our certificate, and whose certificates clients must show (mutual TLS)."""

from .compat import MICROPYTHON
from .errors import ConfigError
from .pem import armoured, certificates, private_key


def tls_from(options):
    """Take cert, key and client_ca out of `options` (dict): a TLS context for a server, or None if
    they are not there.

    Each is the path of a file (str) or its content (bytes), PEM or DER. cert: ours, with the
    intermediate ones behind it where the port can send them (CPython); client_ca: the authorities
    one of which must have issued a client's certificate, None: clients need none. Checking a
    client's certificate takes a clock that was set. Raises ConfigError.
    """
    cert = _content(options, "cert")
    key = _content(options, "key")
    client_ca = _content(options, "client_ca")
    if cert is None and key is None:
        if client_ca is not None:
            raise ConfigError("client_ca= needs cert= and key= beside it")
        return None
    if cert is None or key is None:
        raise ConfigError("cert= and key= go together")
    return server_context(cert, key, client_ca)


def server_context(cert, key, client_ca=None):
    """The context of tls_from(), from bytes."""
    chain = _read("cert", certificates, cert)
    key, label = _read("key", private_key, key)
    authorities = [] if client_ca is None else _read("client_ca", certificates, client_ca)
    try:
        if MICROPYTHON:
            return _micro_context(chain, key, authorities)
        return _context(chain, key, label, authorities)
    except (OSError, ValueError) as e:
        raise ConfigError("cert, key or client_ca: %s" % e)


def _micro_context(chain, key, authorities):
    import tls

    if len(chain) > 1:
        raise ConfigError("cert: this port can send one certificate, not %d" % len(chain))
    context = tls.SSLContext(tls.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain[0], key)
    for der in authorities:
        context.load_verify_locations(der)
    if authorities:
        context.verify_mode = tls.CERT_REQUIRED
    return context


def _context(chain, key, label, authorities):
    import ssl
    from os.path import join
    from tempfile import TemporaryDirectory

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # This interface takes files only. Nobody else can read in such a folder, and it does not last.
    with TemporaryDirectory() as folder:
        path = join(folder, "chain.pem")
        with open(path, "wb") as file:
            for der in chain:
                file.write(armoured(der, b"CERTIFICATE"))
            file.write(armoured(key, label))
        context.load_cert_chain(path)
    for der in authorities:
        context.load_verify_locations(cadata=der)
    if authorities:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _content(options, name):
    value = options.pop(name, None)
    if value is None or isinstance(value, (bytes, bytearray)):
        return value
    if not isinstance(value, str):
        raise ConfigError("%s must be a path or the file's content as bytes" % name)
    try:
        with open(value, "rb") as file:
            return file.read()
    except OSError as e:
        raise ConfigError("%s: %s cannot be read: %s" % (name, value, e))


def _read(name, reader, data):
    try:
        return reader(bytes(data))
    except ValueError as e:
        raise ConfigError("%s: %s" % (name, e))
