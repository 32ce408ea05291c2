"""sprig v3.3.0: the functions that Argo's expressions and ApplicationSet's templates may call.

`FUNCTIONS` maps names to `tiphys.lang.govalues.Function`: a call and its Go signature, which the languages check before
they call. Everything here is deterministic. What needs the time or chance (``now``, ``ago``, ``randAlpha``, ``uuidv4``,
``genCA`` …) is there under its name but refuses, unless `functions` is given `Sources`. What reads the environment or
the network (``env``, ``expandenv``, ``getHostByName``) is not there at all, as Argo leaves it out.

| Functions | File |
|---|---|
| text, encodings | ``text.py``, ``words.py`` |
| numbers | ``numbers.py`` |
| lists, maps | ``lists.py``, ``maps.py`` |
| defaults, JSON, reflection | ``choices.py`` |
| dates | ``dates.py`` |
| regular expressions, versions | ``regexps.py``, ``semver.py`` |
| paths, URLs | ``places.py`` |
| digests, ciphers | ``ciphers.py`` |
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NoReturn

from tiphys.lang.govalues import CallError, Function, refuse_size
from tiphys.lang.govalues import functions as _typed
from tiphys.lang.moments import Time
from tiphys.lang.sprig import choices, ciphers, dates, lists, maps, numbers, places, regexps, semver, text

__all__ = ["FUNCTIONS", "Sources", "functions"]

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"
_ASCII = "".join(map(chr, range(0x20, 0x7F)))

# What makes keys and certificates, or hashes with a random salt: given by the caller or refused.
_MADE_OUTSIDE = {
    "bcrypt": "string -> string",
    "htpasswd": "string, string -> string",
    "genPrivateKey": "string -> string",
    "buildCustomCert": "string, string -> sprig.certificate",
    "genCA": "string, int -> sprig.certificate",
    "genCAWithKey": "string, int, string -> sprig.certificate",
    "genSelfSignedCert": "string, list, list, int -> sprig.certificate",
    "genSelfSignedCertWithKey": "string, list, list, int, string -> sprig.certificate",
    "genSignedCert": "string, list, list, int, sprig.certificate -> sprig.certificate",
    "genSignedCertWithKey": "string, list, list, int, sprig.certificate, string -> sprig.certificate",
}

_LONG_WORK = {"derivePassword": 40_000}
"""Steps of functions whose work is not in proportion to the size of what they take and give."""


@dataclass(frozen=True)
class Sources:
    """Where the time and chance come from. ``makers`` are calls for the functions that make keys and certificates."""

    now: Callable[[], Time]
    random: Callable[[int], bytes]
    makers: Mapping[str, Callable[..., Any]] = field(default_factory=dict, hash=False, compare=False)


def functions(sources: Sources | None = None) -> Mapping[str, Function]:
    """All functions by name; with ``sources`` those that need the time or chance work too."""
    if sources is None:
        return FUNCTIONS
    return _built(sources)


@lru_cache(maxsize=16)
def _built(sources: Sources) -> Mapping[str, Function]:
    return MappingProxyType(_build(sources))


def _build(sources: Sources) -> dict[str, Function]:
    tables: tuple[Mapping[str, tuple[str, Callable[..., Any]]], ...] = (
        text.TABLE,
        numbers.TABLE,
        lists.TABLE,
        maps.TABLE,
        choices.TABLE,
        dates.table(sources.now),
        regexps.TABLE,
        semver.TABLE,
        places.TABLE,
        ciphers.TABLE,
        _by_chance(sources.random),
        {name: (signature, sources.makers.get(name) or _refusal(name)) for name, signature in _MADE_OUTSIDE.items()},
    )
    found = {name: one for table in tables for name, one in _typed(table).items()}
    for name, steps in _LONG_WORK.items():
        found[name] = replace(found[name], steps=steps)
    return found


def _by_chance(random: Callable[[int], bytes]) -> dict[str, tuple[str, Callable[..., Any]]]:
    def characters(alphabet: str) -> Callable[[int], str]:
        def draw(count: int) -> str:
            refuse_size("rand", count)
            return "".join(alphabet[_below(random, len(alphabet))] for _ in range(count))

        return draw

    def rand_int(low: int, high: int) -> int:
        if high <= low:
            raise CallError("invalid argument to Intn")
        return low + _below(random, high - low)

    def shuffle(given: str) -> str:
        letters = list(given)
        for index in range(len(letters) - 1, 0, -1):
            other = _below(random, index + 1)
            letters[index], letters[other] = letters[other], letters[index]
        return "".join(letters)

    return {
        "randAlphaNum": ("int -> string", characters(_LETTERS + _DIGITS)),
        "randAlpha": ("int -> string", characters(_LETTERS)),
        "randAscii": ("int -> string", characters(_ASCII)),
        "randNumeric": ("int -> string", characters(_DIGITS)),
        "randInt": ("int, int -> int", rand_int),
        "randBytes": ("int -> string", lambda count: base64.b64encode(random(_size(count))).decode()),
        "shuffle": ("string -> string", shuffle),
        "uuidv4": ("-> string", lambda: _uuid4(random(16))),
        "encryptAES": ("string, string -> string", lambda key, given: ciphers.encrypt_aes(key, given, random)),
    }


def _uuid4(data: bytes) -> str:
    """The bytes as a UUID of version 4 (RFC 4122)."""
    digits = bytes((*data[:6], data[6] & 0x0F | 0x40, data[7], data[8] & 0x3F | 0x80, *data[9:16])).hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _size(count: int) -> int:
    if count < 0:
        raise CallError("runtime error: makeslice: len out of range")
    refuse_size("randBytes", count)
    return count


def _below(random: Callable[[int], bytes], limit: int) -> int:
    """Even chances for 0 … limit-1: 64 spare bits make the bias too small to matter."""
    return int.from_bytes(random((limit.bit_length() + 7) // 8 + 8)) % limit


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any) -> NoReturn:
        raise CallError(f"{name} is not available here: its result would differ every time")

    return refuse


_NOTHING = Sources(now=_refusal("the present time"), random=_refusal("chance"))

FUNCTIONS: Mapping[str, Function] = MappingProxyType(_build(_NOTHING))
