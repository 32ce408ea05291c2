"""JSON Web Tokens as Kubernetes signs them: RS256 in compact form, and the public key as a JWK set.

Not a general JWT library: one algorithm, taken from the key and never from the token's header (RFC 8725, 3.1).
``cryptography`` is imported with the first token: most clusters on a laptop never make one.
"""

from __future__ import annotations

import base64
import binascii
import os
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from tiphys.machinery.errors import TiphysError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

ALGORITHM: Final = "RS256"
TOKEN_CHARACTERS_MAX: Final = 64 << 10
_KEY_BITS: Final = 2048


class BadToken(TiphysError):
    """Not a token that this key has signed."""


class SigningKey:
    """One RSA key, in ``path`` (PEM, 0600, made when it is first needed) or in memory only."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    def sign(self, claims: dict[str, Any]) -> str:
        header = {"alg": ALGORITHM, "kid": self.identifier}
        text = f"{encode(orjson.dumps(header))}.{encode(orjson.dumps(claims))}"
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        return f"{text}.{encode(self._key.sign(text.encode(), PKCS1v15(), SHA256()))}"

    def verify(self, token: str) -> dict[str, Any]:
        """The claims of a token with a good signature; what they say is the caller's to judge. Raises BadToken."""
        header, claims = parts_of(token)
        if header.get("alg") != ALGORITHM or header.get("kid", self.identifier) != self.identifier:
            raise BadToken("signed with another key")
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        text, _, signature = token.rpartition(".")
        try:
            self._key.public_key().verify(decode(signature), text.encode(), PKCS1v15(), SHA256())
        except (InvalidSignature, binascii.Error):
            raise BadToken("the signature is wrong") from None
        return claims

    def jwks(self) -> dict[str, Any]:
        """The public key as relying parties fetch it (RFC 7517)."""
        numbers = self._key.public_key().public_numbers()
        key = {
            "use": "sig",
            "kty": "RSA",
            "kid": self.identifier,
            "alg": ALGORITHM,
            "n": encode(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
            "e": encode(numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8, "big")),
        }
        return {"keys": [key]}

    @cached_property
    def identifier(self) -> str:
        """The key's id: the digest of its public part, as Kubernetes derives it."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        public = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return encode(sha256(public).digest())

    @cached_property
    def _key(self) -> RSAPrivateKey:
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
            load_pem_private_key,
        )

        if self._path is not None and self._path.exists():
            held = load_pem_private_key(self._path.read_bytes(), None)
            if isinstance(held, RSAPrivateKey):
                return held
        key = generate_private_key(65537, _KEY_BITS)
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            draft = self._path.with_suffix(".new")
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(text)
            draft.replace(self._path)
        return key


def parts_of(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, not verified. Raises BadToken."""
    pieces = token.split(".")
    if len(token) > TOKEN_CHARACTERS_MAX or len(pieces) != 3:
        raise BadToken("not a signed token")
    try:
        header, claims = (orjson.loads(decode(piece)) for piece in pieces[:2])
    except (ValueError, binascii.Error):
        raise BadToken("not a signed token") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise BadToken("not a signed token")
    return header, claims


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Raises binascii.Error."""
    return base64.b64decode(text.encode("ascii", "replace") + b"=" * (-len(text) % 4), b"-_", validate=True)
