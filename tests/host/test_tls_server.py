"""TLS for listeners, by real handshakes: what is served, and which clients are turned away."""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import targets
from authority import CA, DAY, LOCAL, NOW
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from waiting import PATIENCE_S, ReservedPort

LISTENER = Path(__file__).with_name("tls_listener.py")


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return CA(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    return CA(tmp_path_factory.mktemp("theirs"), "theirs")


class Listener:
    def __init__(self, command, options):
        self.reserved = ReservedPort()
        self.port = self.reserved.number
        options = {name: str(value) for name, value in options.items()}
        self.process = subprocess.Popen(
            [*command, str(LISTENER), str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **os.environ,
                "MICROPYPATH": f"{targets.ROOT}:.frozen",
                "PYTHONPATH": str(targets.ROOT),
                "PYTHONUNBUFFERED": "1",
            },
        )
        self.process.stdin.write(json.dumps(options) + "\n")
        self.process.stdin.flush()

    def said(self):
        return self.process.stdout.readline().strip()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.reserved.close()
        self.process.stdout.close()


@pytest.fixture(params=["cpython", "micropython"])
def listen(request):
    """listen(cert=, key=, client_ca=) under either interpreter."""
    listeners = []
    command = [sys.executable] if request.param == "cpython" else [targets.firmware("unix")]

    def make(**options):
        listeners.append(Listener(command, options))
        return listeners[-1]

    make.interpreter = request.param
    yield make
    for listener in listeners:
        listener.close()


def talk(listener, authority, own=None, line=b"hello\n", **limits):
    """Send a line and return what comes back. own: the client's (certificate, key) paths."""
    context = ssl.create_default_context(cafile=authority.path)
    for name, value in limits.items():
        setattr(context, name, value)
    if own:
        context.load_cert_chain(*own)
    with (
        socket.create_connection(("127.0.0.1", listener.port), timeout=PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as stream,
    ):
        stream.sendall(line)
        return stream.makefile("rb").readline()


def forms(paths):
    """The same certificate and key as options, in each form they are taken in."""
    cert, key = (path.read_bytes() for path in paths)
    loaded = serialization.load_pem_private_key(key, None)
    plain = serialization.NoEncryption()
    old = serialization.PrivateFormat.TraditionalOpenSSL
    new = serialization.PrivateFormat.PKCS8
    der = ssl.PEM_cert_to_DER_cert(cert.decode())
    yield {"cert": paths[0], "key": paths[1]}
    for coding in (serialization.Encoding.PEM, serialization.Encoding.DER):
        for form in (old, new):
            data = loaded.private_bytes(coding, form, plain)
            shown = der if coding is serialization.Encoding.DER else cert
            yield {"cert": "hex:" + shown.hex(), "key": "hex:" + data.hex()}


def test_each_form_of_certificate_and_key(listen, ours):
    for options in forms(ours.issue("board", LOCAL)):
        listener = listen(**options)
        assert listener.said() == "listening", options
        for _ in range(2):
            assert talk(listener, ours) == b"hello\n"
            assert listener.said() == "line hello"


def test_rsa(listen, ours):
    paths = ours.issue("rsa", LOCAL, key=rsa.generate_private_key(65537, 2048))
    for options in forms(paths):
        listener = listen(**options)
        assert listener.said() == "listening"
        assert talk(listener, ours) == b"hello\n"


def test_a_client_that_does_not_know_us(listen, ours, theirs):
    paths = ours.issue("board", LOCAL)
    listener = listen(cert=paths[0], key=paths[1])
    assert listener.said() == "listening"
    with pytest.raises(ssl.SSLCertVerificationError):
        talk(listener, theirs)
    assert listener.said().startswith("error")
    assert talk(listener, ours) == b"hello\n"


def test_old_protocols_are_refused(listen, ours):
    paths = ours.issue("board", LOCAL)
    listener = listen(cert=paths[0], key=paths[1])
    assert listener.said() == "listening"
    old = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning), pytest.raises((ssl.SSLError, OSError)):
        talk(listener, ours, minimum_version=old, maximum_version=old)
    assert listener.said().startswith("error")
    new = ssl.TLSVersion.TLSv1_2
    assert talk(listener, ours, minimum_version=new, maximum_version=new) == b"hello\n"


def test_mutual(listen, ours, theirs):
    paths = ours.issue("board", LOCAL)
    listener = listen(cert=paths[0], key=paths[1], client_ca=ours.path)
    assert listener.said() == "listening"
    good = ours.issue("good-client", [])
    assert talk(listener, ours, good) == b"hello\n"
    assert listener.said() == "line hello"
    for own in (
        None,
        theirs.issue("foreign-client", []),
        ours.issue("old-client", [], begin=NOW - 9 * DAY, end=NOW - 2 * DAY),
        ours.issue("early-client", [], begin=NOW + 2 * DAY, end=NOW + 9 * DAY),
    ):
        with contextlib.suppress(OSError):
            # In TLS 1.3 a client learns of it only when it reads.
            assert talk(listener, ours, own) == b""
        said = listener.said()
        assert said.startswith("error"), (own, said)
        assert talk(listener, ours, good) == b"hello\n"
        assert listener.said() == "line hello"


def test_clients_of_several_authorities(listen, ours, theirs):
    paths = ours.issue("board", LOCAL)
    both = "hex:" + (ours.pem + theirs.pem).hex()
    listener = listen(cert=paths[0], key=paths[1], client_ca=both)
    assert listener.said() == "listening"
    for authority in (ours, theirs):
        assert talk(listener, ours, authority.issue("client", [])) == b"hello\n"


def test_peers_that_do_not_speak_tls(listen, ours):
    paths = ours.issue("board", LOCAL)
    listener = listen(cert=paths[0], key=paths[1])
    assert listener.said() == "listening"
    for noise in (b"GET /mcp HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 70000, b""):
        with socket.create_connection(("127.0.0.1", listener.port), timeout=PATIENCE_S) as plain:
            try:
                plain.sendall(noise)
                plain.shutdown(socket.SHUT_WR)
                while plain.recv(1000):
                    pass
            except OSError:
                pass
        assert listener.said().startswith("error"), noise[:10]
    assert talk(listener, ours) == b"hello\n"


def test_settings_that_cannot_be(listen, ours):
    cert, key = ours.issue("board", LOCAL)
    other = ours.issue("other", LOCAL)[1]
    encrypted = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    for options, words in (
        ({"cert": cert}, "go together"),
        ({"key": key}, "go together"),
        ({"client_ca": cert}, "needs cert="),
        ({"cert": cert, "key": "/nowhere/key.pem"}, "/nowhere/key.pem cannot be read"),
        ({"cert": key, "key": key}, "no certificate"),
        ({"cert": cert, "key": cert}, "no private key"),
        ({"cert": cert, "key": "hex:" + encrypted.hex()}, "is encrypted"),
        ({"cert": cert, "key": key, "client_ca": key}, "no certificate"),
        ({"cert": "hex:3003020101", "key": key}, "cert"),
        ({"cert": cert, "key": other}, "cert, key"),
    ):
        if listen.interpreter == "micropython" and options.get("key") is other:
            continue  # nobody compares the two there; the handshake fails
        said = listen(**options).said()
        assert said.startswith("ConfigError") and words in said, (options, said)


def test_chains(listen, ours):
    """Intermediate certificates go out where the port can send them; elsewhere they are refused
    at once, not by clients later."""
    between = ours.authority("between")
    cert, key = between.issue("board", LOCAL)
    chain = "hex:" + (cert.read_bytes() + between.pem).hex()
    said = listen(cert=chain, key=key)
    if listen.interpreter == "micropython":
        assert "one certificate, not 2" in said.said()
    else:
        assert said.said() == "listening" and talk(said, ours) == b"hello\n"
