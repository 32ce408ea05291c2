"""A private certificate authority, and what it signs: the server's certificate and clients' ones.

Kept in a folder (keys 0600) and made once; the server's certificate is made again when it is near its end or does not
cover an asked-for name. ``cryptography`` is imported only when something must be made, which takes longer than all of
the start otherwise.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

CA_DAYS: Final = 3650
CERTIFICATE_DAYS: Final = 365
RENEW_BEFORE: Final = timedelta(days=30)
DEFAULT_NAMES: Final = (
    "127.0.0.1",
    "::1",
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files in PEM."""

    certificate: Path
    key: Path

    @property
    def exists(self) -> bool:
        return self.certificate.is_file() and self.key.is_file()


@dataclass(frozen=True)
class Authority:
    """The CA in ``folder``; ``now`` is the time of making."""

    folder: Path

    @property
    def ca(self) -> Pair:
        return Pair(self.folder / "ca.crt", self.folder / "ca.key")

    def ensure(self, now: datetime) -> None:
        """Makes the CA if there is none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.ca.exists:
            return
        key = _new_key()
        name = _name("tiphys", ())
        builder = _builder(name, name, key, now, CA_DAYS)
        _write(self.ca, _as_authority(builder).sign(key, _sha256()), key)

    def server(self, names: Iterable[str], now: datetime) -> Pair:
        """The server's certificate for these names and addresses."""
        pair = Pair(self.folder / "server.crt", self.folder / "server.key")
        wanted = sorted({*DEFAULT_NAMES, *names})
        if pair.exists and _covers(pair, wanted, now):
            return pair
        self.ensure(now)
        self._sign(pair, "tiphys-apiserver", (), now, wanted)
        return pair

    def client(self, user: str, groups: Iterable[str], now: datetime) -> Pair:
        """A client certificate: user name as CN, groups as O."""
        pair = Pair(self.folder / f"{user}.crt", self.folder / f"{user}.key")
        if not (pair.exists and _covers(pair, [], now)):
            self.ensure(now)
            self._sign(pair, user, tuple(groups), now, [])
        return pair

    def _sign(self, pair: Pair, user: str, groups: tuple[str, ...], now: datetime, names: list[str]) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        ca_key: Any = load_pem_private_key(self.ca.key.read_bytes(), None)
        ca = x509.load_pem_x509_certificate(self.ca.certificate.read_bytes())
        key = _new_key()
        builder = _builder(_name(user, groups), ca.subject, key, now, CERTIFICATE_DAYS)
        builder = _as_leaf(builder, ca_key, names)
        _write(pair, builder.sign(ca_key, _sha256()), key)


def sign_request(authority: Authority, request: bytes, usages: Iterable[str], seconds: int, now: datetime) -> bytes:
    """The PEM certificate for a PEM signing request; raises ValueError for one that is not signed by its own key."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

    authority.ensure(now)
    asked = x509.load_pem_x509_csr(request)
    if not asked.is_signature_valid:
        raise ValueError("the request is not signed by its own key")
    ca_key: Any = load_pem_private_key(authority.ca.key.read_bytes(), None)
    ca = x509.load_pem_x509_certificate(authority.ca.certificate.read_bytes())
    builder = x509.CertificateBuilder(ca.subject, asked.subject, asked.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - _CLOCK_SKEW).not_valid_after(now + timedelta(seconds=seconds))
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    wanted = [_EXTENDED[usage] for usage in usages if usage in _EXTENDED]
    if wanted:
        oids = [x509.ObjectIdentifier(oid) for oid in wanted]
        builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)
    for extension in asked.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            builder = builder.add_extension(extension.value, critical=False)
    return builder.sign(ca_key, _sha256()).public_bytes(Encoding.PEM)


_CLOCK_SKEW = timedelta(minutes=5)
_EXTENDED = {"client auth": "1.3.6.1.5.5.7.3.2", "server auth": "1.3.6.1.5.5.7.3.1"}


def server_context(authority: Authority, pair: Pair) -> ssl.SSLContext:
    """TLS for a server that asks for client certificates of this authority, but does not insist."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(pair.certificate, pair.key)
    context.load_verify_locations(authority.ca.certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _covers(pair: Pair, names: list[str], now: datetime) -> bool:
    """Valid for a while yet, and for these names."""
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    if certificate.not_valid_after_utc - RENEW_BEFORE < now or certificate.not_valid_before_utc > now:
        return False
    if not names:
        return True
    held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    texts = {str(name.value) for name in held}
    return texts >= set(names)


def _new_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _sha256() -> Any:
    from cryptography.hazmat.primitives.hashes import SHA256

    return SHA256()


def _name(user: str, groups: tuple[str, ...]) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    organisations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organisations, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A clock that was set back a little must not make a fresh certificate invalid.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _as_authority(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    from cryptography import x509

    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).add_extension(
        _key_usage(signs=True), critical=True
    )


def _as_leaf(builder: x509.CertificateBuilder, ca_key: Any, names: list[str]) -> x509.CertificateBuilder:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    purpose = ExtendedKeyUsageOID.SERVER_AUTH if names else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), critical=False)
    return builder


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not signs,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(pair: Pair, certificate: x509.Certificate, key: EllipticCurvePrivateKey) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write_private(pair.key, secret)
    pair.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))


def _write_private(path: Path, content: bytes) -> None:
    """0600 from the first byte on, and whole or not at all."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    draft.replace(path)
