"""Digests and what can be computed from a secret alone; chance comes from outside (see ``__init__.py``)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
import zlib
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tiphys.lang.gobase64 import first_illegal
from tiphys.lang.gotext import from_utf8, utf8
from tiphys.lang.govalues import CallError, refuse_size

_BLOCK = 16
_SEED = "com.lyndir.masterpassword"
_SCRYPT_MEMORY = 64 * 1024 * 1024

# The password templates of Master Password (masterpassword.app), whose algorithm derivePassword is.
_TEMPLATES = {
    "maximum": ("anoxxxxxxxxxxxxxxxxx", "axxxxxxxxxxxxxxxxxno"),
    "long": (
        "CvcvnoCvcvCvcv", "CvcvCvcvnoCvcv", "CvcvCvcvCvcvno", "CvccnoCvcvCvcv", "CvccCvcvnoCvcv", "CvccCvcvCvcvno",
        "CvcvnoCvccCvcv", "CvcvCvccnoCvcv", "CvcvCvccCvcvno", "CvcvnoCvcvCvcc", "CvcvCvcvnoCvcc", "CvcvCvcvCvccno",
        "CvccnoCvccCvcv", "CvccCvccnoCvcv", "CvccCvccCvcvno", "CvcvnoCvccCvcc", "CvcvCvccnoCvcc", "CvcvCvccCvccno",
        "CvccnoCvcvCvcc", "CvccCvcvnoCvcc", "CvccCvcvCvccno",
    ),
    "medium": ("CvcnoCvc", "CvcCvcno"),
    "short": ("Cvcn",),
    "basic": ("aaanaaan", "aannaaan", "aaannaaa"),
    "pin": ("nnnn",),
}  # fmt: skip
_CHARACTERS = {
    "V": "AEIOU",
    "C": "BCDFGHJKLMNPQRSTVWXYZ",
    "v": "aeiou",
    "c": "bcdfghjklmnpqrstvwxyz",
    "A": "AEIOUBCDFGHJKLMNPQRSTVWXYZ",
    "a": "AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz",
    "n": "0123456789",
    "o": "@&%?,=[]_:-+*$#!'^~;()/.",
    "x": "AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz0123456789!@#$%^&*()",
}


def derive_password(counter: int, kind: str, password: str, user: str, site: str) -> str:
    """The password that Master Password derives; costs about a tenth of a second on purpose (scrypt)."""
    templates = _TEMPLATES.get(kind)
    if templates is None:
        return f"cannot find password template {kind}"
    salt = utf8(_SEED) + struct.pack(">I", len(utf8(user))) + utf8(user)
    key = hashlib.scrypt(utf8(password), salt=salt, n=32768, r=8, p=2, dklen=64, maxmem=_SCRYPT_MEMORY)
    message = utf8(_SEED) + struct.pack(">I", len(utf8(site))) + utf8(site) + struct.pack(">I", counter)
    seed = hmac.new(key, message, hashlib.sha256).digest()
    template = templates[seed[0] % len(templates)]
    return "".join(
        _CHARACTERS[kind_of_character][byte % len(_CHARACTERS[kind_of_character])]
        for kind_of_character, byte in zip(template, seed[1:], strict=False)
    )


def _cipher(password: str, start: bytes) -> Cipher[modes.CBC]:
    key = utf8(password)[:32].ljust(32, b"\0")
    return Cipher(algorithms.AES(key), modes.CBC(start))


def encrypt_aes(password: str, text: str, random: Callable[[int], bytes]) -> str:
    """AES-256-CBC with the password as key; base64 of the start vector and the text."""
    if not text:
        return ""
    refuse_size("encryptAES", len(text))
    start, data = random(_BLOCK), utf8(text)
    padding = _BLOCK - len(data) % _BLOCK
    encryptor = _cipher(password, start).encryptor()
    sealed = encryptor.update(data + bytes((padding,)) * padding) + encryptor.finalize()
    return base64.b64encode(start + sealed).decode()


def decrypt_aes(password: str, text: str) -> str:
    if not text:
        return ""
    try:
        data = base64.b64decode(utf8(text), validate=True)
    except (binascii.Error, ValueError):
        raise CallError(f"illegal base64 data at input byte {first_illegal(utf8(text))}") from None
    if len(data) < _BLOCK:
        raise CallError(f"runtime error: slice bounds out of range [:{_BLOCK}] with capacity {len(data)}")
    if len(data) % _BLOCK:
        raise CallError("crypto/cipher: input not full blocks")
    decryptor = _cipher(password, data[:_BLOCK]).decryptor()
    opened = decryptor.update(data[_BLOCK:]) + decryptor.finalize()
    if not opened or opened[-1] > len(opened):
        raise CallError("runtime error: slice bounds out of range: wrong password or no text")
    return from_utf8(opened[: len(opened) - opened[-1]])


def _digest(name: str) -> Callable[[str], str]:
    return lambda text: hashlib.new(name, utf8(text), usedforsecurity=False).hexdigest()


TABLE: dict[str, tuple[str, Callable[..., Any]]] = {
    "sha1sum": ("string -> string", _digest("sha1")),
    "sha256sum": ("string -> string", _digest("sha256")),
    "sha512sum": ("string -> string", _digest("sha512")),
    "adler32sum": ("string -> string", lambda text: str(zlib.adler32(utf8(text)))),
    "derivePassword": ("uint32, string, string, string, string -> string", derive_password),
    "decryptAES": ("string, string -> string", decrypt_aes),
}
