"""Names of images: ``[registry[:port]/]path[:tag][@digest]``, read as Docker and a kubelet read them.

    busybox                     docker.io/library/busybox:latest
    quay.io/team/app:1          as it stands: a first part with a dot, a colon or a capital, or localhost, is a registry
    app@sha256:…                by digest; no tag is added

The grammar and the words of its errors are those of github.com/distribution/reference (regexp.go, normalize.go).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tiphys.machinery.errors import TiphysError

DOCKER_HUB = "docker.io"
NAME_MAX = 255
_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?P<domain>{_DOMAIN})/(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?\Z"
)
_IDENTIFIER = re.compile(r"[a-f0-9]{64}\Z")
_SHA256 = re.compile(r"sha256:[a-f0-9]{64}\Z")


class InvalidReference(TiphysError):
    """The text names no image."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A full name. ``digest`` wins over ``tag`` where both are given."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        return f"{self.domain}/{self.path}"

    @property
    def selector(self) -> str:
        """What a registry is asked for: the digest, else the tag."""
        return self.digest or self.tag

    def __str__(self) -> str:
        return self.repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> Reference:
    """Raises ``InvalidReference``, in the words of the reference implementation."""
    if _IDENTIFIER.match(text):
        raise InvalidReference(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    domain, rest = _split_domain(text)
    remote = rest.partition(":")[0]
    if remote.lower() != remote:
        raise InvalidReference(f"invalid reference format: repository name ({remote}) must be lowercase")
    match = _REFERENCE.match(f"{domain}/{rest}")
    if match is None:
        raise InvalidReference("invalid reference format")
    if len(match["domain"]) + 1 + len(match["path"]) > NAME_MAX:
        raise InvalidReference(f"repository name must not be more than {NAME_MAX} characters")
    digest = match["digest"] or ""
    if digest and not _SHA256.match(digest):
        known = digest.startswith("sha256:")
        raise InvalidReference("invalid checksum digest length" if known else "unsupported digest algorithm")
    tag = match["tag"] or ("" if digest else "latest")
    return Reference(match["domain"], match["path"], tag, digest)


def _split_domain(text: str) -> tuple[str, str]:
    head, slash, tail = text.partition("/")
    named = slash and (any(c in head for c in ".:") or head == "localhost" or head.lower() != head)
    domain, rest = (head, tail) if named else (DOCKER_HUB, text)
    if domain == "index.docker.io":
        domain = DOCKER_HUB
    if domain == DOCKER_HUB and "/" not in rest:
        rest = f"library/{rest}"
    return domain, rest
