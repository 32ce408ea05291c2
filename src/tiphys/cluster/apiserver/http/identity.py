"""Who asks, and may they: client certificates and bearer tokens in, allowed or refused out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final, Protocol

from aiohttp import web

from tiphys.cluster.apiserver.http.paths import ResourcePath
from tiphys.cluster.apiserver.users import ANONYMOUS, AUTHENTICATED, User
from tiphys.machinery.errors import Unauthorized

CREDENTIAL: Final = "authentication.kubernetes.io/credential-id"


class TokenReader(Protocol):
    """Knows some kind of bearer token."""

    def user_of(self, token: str) -> User | None: ...


@dataclass
class StaticTokens:
    """Tokens given at the start; only their digests are kept."""

    users: dict[bytes, User] = field(default_factory=dict)

    def add(self, token: str, user: User) -> None:
        self.users[sha256(token.encode()).digest()] = user

    def user_of(self, token: str) -> User | None:
        return self.users.get(sha256(token.encode()).digest())


@dataclass
class Authenticator:
    """Certificate first, then token; a token that nobody knows is refused, none at all is anonymous."""

    tokens: list[TokenReader] = field(default_factory=list)

    def identify(self, request: web.BaseRequest) -> User:
        """Raises Unauthorized."""
        transport = request.transport
        certificate = transport.get_extra_info("peercert") if transport is not None else None
        if certificate and transport is not None:
            return _certified(certificate, transport.get_extra_info("ssl_object").getpeercert(True))
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            return ANONYMOUS
        for reader in self.tokens:
            user = reader.user_of(token.strip())
            if user is not None:
                return user if AUTHENTICATED in user.groups else replace(user, groups=(*user.groups, AUTHENTICATED))
        raise Unauthorized("Unauthorized")


def _certified(certificate: Mapping[str, Any], encoded: bytes) -> User:
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    name = next((value for key, value in subject if key == "commonName"), "")
    groups = tuple(value for key, value in subject if key == "organizationName")
    extra = {CREDENTIAL: (f"X509SHA256={sha256(encoded).hexdigest()}",)}
    return User(name, (*groups, AUTHENTICATED), "", extra)


class Authorizer(Protocol):
    """Raises Forbidden for what a user may not do."""

    def check(self, user: User, verb: str, where: ResourcePath) -> None: ...

    def check_path(self, user: User, verb: str, path: str) -> None: ...


def refusal_text(user: User, verb: str, where: ResourcePath) -> str:
    """The wording of RBAC's refusals."""
    plural = f"{where.plural}.{where.group}" if where.group else where.plural
    subject = f'{plural} "{where.name}"' if where.name else plural
    resource = f"{where.plural}/{where.subresource}" if where.subresource else where.plural
    place = f' in the namespace "{where.namespace}"' if where.namespace else " at the cluster scope"
    return (
        f'{subject} is forbidden: User "{user.name}" cannot {verb} resource "{resource}" in API group "{where.group}"'
        f"{place}"
    )


def details_of(where: ResourcePath) -> dict[str, Any]:
    details: dict[str, Any] = {"name": where.name} if where.name else {}
    if where.group:
        details["group"] = where.group
    return details | {"kind": where.plural}
