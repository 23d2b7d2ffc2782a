"""PEM and DER: what is found in them, and what is not."""

from binascii import b2a_base64

from mcp_gw.pem import armoured, certificates, private_key

# The beginnings of the three forms of a private key; the rest is of no interest here.
PKCS8 = b"\x30\x81\x87\x02\x01\x00\x30\x13" + b"k" * 130
SEC1 = b"\x30\x77\x02\x01\x01\x04\x20" + b"k" * 114
PKCS1 = b"\x30\x82\x04\xa4\x02\x01\x00\x02\x82" + b"k" * 1183
CERT = b"\x30\x82\x01\x00" + b"c" * 256


def raises(work, *args):
    try:
        work(*args)
    except ValueError as e:
        return str(e)
    raise AssertionError("accepted")


def test_there_and_back():
    for label, der in (
        (b"PRIVATE KEY", PKCS8),
        (b"EC PRIVATE KEY", SEC1),
        (b"RSA PRIVATE KEY", PKCS1),
    ):
        text = armoured(der, label)
        assert max(len(line) for line in text.split(b"\n")) <= 64
        assert private_key(text) == private_key(der) == (der, label)


def test_certificates_among_other_things():
    other = CERT + b"2"
    text = b"Subject: us\n" + armoured(CERT, b"CERTIFICATE") + armoured(SEC1, b"EC PRIVATE KEY")
    text += armoured(other, b"CERTIFICATE").replace(b"\n", b"\r\n")
    assert certificates(text) == [CERT, other]
    assert certificates(CERT) == [CERT]
    parameters = armoured(b"\x06\x01\x01", b"EC PARAMETERS")
    assert private_key(parameters + text) == (SEC1, b"EC PRIVATE KEY")


def test_refused():
    key = armoured(PKCS8, b"PRIVATE KEY")
    for data in (b"", b"hello", key, b"-----BEGIN CERTIFICATE", b"\xff"):
        assert raises(certificates, data)
    for data in (b"", b"hello", armoured(CERT, b"CERTIFICATE"), CERT, b"\x30", b"\x30\x82"):
        assert raises(private_key, data)
    assert "without its end" in raises(certificates, armoured(CERT, b"CERTIFICATE")[:-20])
    assert "without its end" in raises(private_key, key.replace(b"END PRIVATE", b"END"))
    assert "encrypted" in raises(private_key, armoured(PKCS8, b"ENCRYPTED PRIVATE KEY"))
    old = b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES,00\n\n"
    old += b2a_base64(PKCS1) + b"-----END RSA PRIVATE KEY-----\n"
    assert "encrypted" in raises(private_key, old)
    assert raises(certificates, b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n")
