"""Who asks, and may they: client certificates and bearer tokens in, allowed or refused out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Protocol

from aiohttp import web

from tiphys.cluster.apiserver.http.paths import ResourcePath
from tiphys.machinery.errors import Unauthorized

MASTERS: Final = "system:masters"
AUTHENTICATED: Final = "system:authenticated"


@dataclass(frozen=True)
class User:
    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def is_master(self) -> bool:
        return MASTERS in self.groups


ANONYMOUS: Final = User("system:anonymous", ("system:unauthenticated",))


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
        if certificate:
            return _certified(certificate)
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            return ANONYMOUS
        for reader in self.tokens:
            user = reader.user_of(token.strip())
            if user is not None:
                return User(user.name, (*user.groups, AUTHENTICATED), user.uid, user.extra)
        raise Unauthorized("Unauthorized")


def _certified(certificate: Mapping[str, Any]) -> User:
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    name = next((value for key, value in subject if key == "commonName"), "")
    groups = tuple(value for key, value in subject if key == "organizationName")
    return User(name, (*groups, AUTHENTICATED))


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
