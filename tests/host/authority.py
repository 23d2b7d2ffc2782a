"""A certification authority for tests, with files."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC)


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class CA:
    """A certification authority with files."""

    def __init__(self, folder, text, issuer=None):
        self.folder = folder
        self.name = name(text)
        self.key = ec.generate_private_key(ec.SECP256R1())
        issuer = issuer or self
        self.certificate = issuer._sign(self.name, self.key, [], True, NOW - DAY, NOW + DAY)
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)
        self.der = self.certificate.public_bytes(serialization.Encoding.DER)
        self.path = folder / f"{text}.pem"
        self.path.write_bytes(b"Some text before.\n" + self.pem)

    def _sign(self, subject, key, names, is_ca, begin, end):
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        )
        if is_ca:
            usage = x509.KeyUsage(*[i in (5, 6) for i in range(9)])
            builder = builder.add_extension(usage, critical=True)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def authority(self, text):
        """An authority below this one."""
        return CA(self.folder, text, self)

    def issue(self, label, names, begin=NOW - DAY, end=NOW + DAY, key=None):
        """(certificate's path, key's path) of a server, or with names=[] of a client."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(name(label), key, names, False, begin, end)
        paths = self.folder / f"{label}.crt", self.folder / f"{label}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return paths


LOCAL = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
