"""The hashes that controllers put into names and labels: pod-template-hash and a ControllerRevision's; and the one by
which the ports of an EndpointSlice are sorted.

All are FNV over a text. For a pod template (FNV-1a) that text is Go's dump of the decoded struct (``dump.py``), for a
revision (FNV-1) its canonical JSON; behind it come the bytes of the collision count, when there is one. The
number is spelled with the letters that names may have. Source: pkg/controller and pkg/controller/history of Kubernetes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from tiphys.machinery.hashes.dump import pod_template_text

_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"
_OFFSET, _PRIME, _MASK = 2166136261, 16777619, 0xFFFFFFFF
_OFFSET_128, _PRIME_128, _MASK_128 = 0x6C62272E07BB014262B821756295C58D, (1 << 88) + 0x13B, (1 << 128) - 1


def fnv32a(data: bytes) -> int:
    """FNV-1a, 32 bits."""
    number = _OFFSET
    for byte in data:
        number = ((number ^ byte) * _PRIME) & _MASK
    return number


def fnv32(data: bytes) -> int:
    """FNV-1, 32 bits: as FNV-1a in the other order."""
    number = _OFFSET
    for byte in data:
        number = ((number * _PRIME) & _MASK) ^ byte
    return number


def fnv128a(data: bytes) -> int:
    """FNV-1a, 128 bits."""
    number = _OFFSET_128
    for byte in data:
        number = ((number ^ byte) * _PRIME_128) & _MASK_128
    return number


@lru_cache(maxsize=1024)
def endpoint_port_hash(name: str, protocol: str, port: int, app_protocol: str | None) -> int:
    """What ports of an EndpointSlice are in order of (source: k8s.io/endpointslice's portsInOrder)."""
    last = "<nil>" if app_protocol is None else app_protocol
    text = f"Name:(*string){name} Protocol:(*v1.Protocol){protocol} Port:(*int32){port} AppProtocol:(*string){last}"
    return fnv128a(f"(v1.EndpointPort){{{text}}}".encode())


def safe_encode(text: str) -> str:
    """Each byte as one of the 27 letters and digits that form no words."""
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in text.encode())


def pod_template_hash(template: Mapping[str, Any], collisions: int | None = None, release: str = "1.35") -> str:
    """The value of the label ``pod-template-hash`` for a template (with its defaults) of this Kubernetes release."""
    tail = b"" if collisions is None else struct.pack("<II", collisions & _MASK, 0)
    return safe_encode(str(fnv32a(pod_template_text(template, release).encode() + tail)))


def revision_hash(data: bytes, collisions: int | None = None) -> str:
    """The hash of a ControllerRevision whose ``data`` is this canonical JSON."""
    tail = b"" if collisions is None else str(collisions).encode()
    return safe_encode(str(fnv32(data + tail)))
