"""Tokens of ServiceAccounts: issued on request, bound to objects, and good for as long as those live.

    POST serviceaccounts/NAME/token ──► issue: claims, signed
    Authorization: Bearer …         ──► review: signature, audience, time, then the account and the bound object,
                                        looked up every time: a token dies with its pod, at once

Two kinds: bound ones (an audience, an expiry), and those of Secrets of type ``kubernetes.io/service-account-token``,
which end with their Secret. Verified signatures are remembered (bounded); what they are bound to never is.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from tiphys.cluster.apiserver.problems import bad_request, conflict, invalid, invalid_value, not_found
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import Registry
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.apiserver.users import AUTHENTICATED, User
from tiphys.machinery.errors import TiphysError
from tiphys.machinery.times import parse_time, to_time
from tiphys.runtime.clock import Clock
from tiphys.runtime.ids import Ids
from tiphys.serving.jwt import BadToken, SigningKey, parts_of

ISSUER: Final = "https://kubernetes.default.svc.cluster.local"
LEGACY_ISSUER: Final = "kubernetes/serviceaccount"
LEGACY_TYPE: Final = "kubernetes.io/service-account-token"
ACCOUNT_OF: Final = "kubernetes.io/service-account.name"
ACCOUNT_UID_OF: Final = "kubernetes.io/service-account.uid"
SECONDS_DEFAULT: Final = 3600
SECONDS_MIN, SECONDS_MAX = 600, 1 << 32
# A pod's own token says when it wants to be renewed, but is good for a year: old clients read it only once.
RENEWED_SECONDS: Final = 3607
EXTENDED_SECONDS: Final = 365 * 24 * 3600
LEEWAY: Final = timedelta(seconds=60)
REMEMBERED_MAX: Final = 4096
_LEGACY: Final = "kubernetes.io/serviceaccount/"
_EXTRA: Final = "authentication.kubernetes.io/"
_BINDABLE: Final = {("", "Pod"): "pods", ("", "Secret"): "secrets", ("", "Node"): "nodes"}


class Refused(TiphysError):
    """Why a token of ours is not good (any more)."""


@dataclass(frozen=True)
class Reviewed:
    """Who presents a token, and for which of the wanted audiences it is good."""

    user: User
    audiences: tuple[str, ...]


@dataclass(frozen=True)
class Issued:
    token: str
    expires: datetime


class ServiceAccountTokens:
    """Issues and reviews tokens over a store."""

    def __init__(self, store: Store, registry: Registry, clock: Clock, ids: Ids, key: SigningKey) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._ids = ids
        self.key = key
        self.audiences: tuple[str, ...] = (ISSUER,)
        self._verified: dict[bytes, dict[str, Any]] = {}

    # Issuing

    def request(self, account: Object, body: Mapping[str, Any]) -> Object:
        """The answer to a TokenRequest for ``account``; raises ApiError."""
        meta, spec = account["metadata"], dict(body.get("spec") or {})
        self._check_place(body.get("metadata") or {}, meta)
        seconds = spec.get("expirationSeconds") or SECONDS_DEFAULT
        self._check_seconds(seconds)
        bound = spec.get("boundObjectRef")
        held = self._bound_object(meta, bound) if bound else {}
        audiences = list(spec.get("audiences") or self.audiences)
        lasting, warn = seconds, 0
        if "pod" in held and seconds == RENEWED_SECONDS and set(audiences) <= set(self.audiences):
            lasting, warn = EXTENDED_SECONDS, seconds
        now = self._clock.now()
        token = self._sign(account, audiences, now, lasting, warn, held)
        expires = to_time(now + timedelta(seconds=seconds))
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": meta["uid"],
                "creationTimestamp": to_time(now),
            },
            "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": bound or None},
            "status": {"token": token, "expirationTimestamp": expires},
        }

    def legacy(self, account: Object, secret: Object) -> str:
        """The token that a Secret of an account holds: no audience, no expiry."""
        meta = account["metadata"]
        claims = {
            "iss": LEGACY_ISSUER,
            "sub": _name(meta["namespace"], meta["name"]),
            f"{_LEGACY}namespace": meta["namespace"],
            f"{_LEGACY}secret.name": secret["metadata"]["name"],
            f"{_LEGACY}service-account.name": meta["name"],
            f"{_LEGACY}service-account.uid": meta["uid"],
        }
        return self.key.sign(claims)

    def filled(self, account: Object, secret: Object, ca: bytes) -> Object:
        """A Secret of type ``LEGACY_TYPE`` with its token, the CA's certificate and the namespace."""
        meta = secret["metadata"]
        held = {"token": self.legacy(account, secret).encode(), "namespace": meta["namespace"].encode()}
        held |= {"ca.crt": ca} if ca else {}
        marks = meta["annotations"] | {ACCOUNT_UID_OF: account["metadata"]["uid"]}
        data = (secret.get("data") or {}) | {key: b64encode(value).decode() for key, value in held.items()}
        return secret | {"metadata": meta | {"annotations": marks}, "data": data}

    def _sign(
        self, account: Object, audiences: Sequence[str], now: datetime, seconds: int, warn: int, held: Mapping[str, Any]
    ) -> str:
        meta, began = account["metadata"], int(now.timestamp())
        private = {
            "namespace": meta["namespace"],
            "serviceaccount": {"name": meta["name"], "uid": meta["uid"]},
            **held,
            **({"warnafter": began + warn} if warn else {}),
        }
        claims = {
            "aud": list(audiences),
            "exp": began + seconds,
            "iat": began,
            "iss": ISSUER,
            "jti": self._ids.uid(),
            "kubernetes.io": private,
            "nbf": began,
            "sub": _name(meta["namespace"], meta["name"]),
        }
        return self.key.sign(claims)

    def _check_place(self, asked: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        for what in ("name", "namespace"):
            if asked.get(what) and asked[what] != meta[what]:
                text = f"must match the service account {what} if specified"
                complaint = invalid_value(f"metadata.{what}", asked[what], text)
                raise invalid("TokenRequest", "authentication.k8s.io", meta["name"], [complaint])

    def _check_seconds(self, seconds: int) -> None:
        text = ""
        if seconds < SECONDS_MIN:
            text = "may not specify a duration less than 10 minutes"
        elif seconds > SECONDS_MAX:
            text = "may not specify a duration larger than 2^32 seconds"
        if text:
            complaint = invalid_value("spec.expirationSeconds", seconds, text)
            raise invalid("TokenRequest", "authentication.k8s.io", "", [complaint])

    def _bound_object(self, account: Mapping[str, Any], bound: Mapping[str, Any]) -> dict[str, Any]:
        """The claims that name what a token is bound to; raises ApiError."""
        kind, group = str(bound.get("kind") or ""), str(bound.get("apiVersion") or "v1").rpartition("/")[0]
        plural = _BINDABLE.get((group, kind))
        if plural is None:
            version = str(bound.get("apiVersion") or "").rpartition("/")[2]
            raise bad_request(f"cannot bind token to object of type {group}/{version}, Kind={kind}")
        info = self._registry.find("", "v1", plural)
        assert info is not None, "built-in kinds are registered"
        name = str(bound.get("name") or "")
        obj = self._find(plural, account["namespace"], name)
        if obj is None:
            raise not_found(info, name)
        uid = obj["metadata"]["uid"]
        if bound.get("uid") and bound["uid"] != uid:
            why = (
                f"the UID in the bound object reference ({bound['uid']}) does not match the UID in record. The object"
                " might have been deleted and then recreated"
            )
            raise conflict(info, name, why)
        held = {kind.lower(): {"name": name, "uid": uid}}
        if kind == "Pod":
            if obj["spec"].get("serviceAccountName") != account["name"]:
                text = f'cannot bind token for serviceaccount "{account["name"]}" to pod running with different'
                raise bad_request(f"{text} serviceaccount name.")
            held |= self._node_claims(str(obj["spec"].get("nodeName") or ""))
        return held

    def _node_claims(self, name: str) -> dict[str, Any]:
        if not name:
            return {}
        node = self._find("nodes", "", name)
        return {"node": {"name": name, **({"uid": node["metadata"]["uid"]} if node else {})}}

    # Reviewing

    def user_of(self, token: str) -> User | None:
        """Who a bearer token stands for at this API; None for a token that is none of ours, or not good."""
        try:
            found = self.review(token)
        except Refused:
            return None
        return None if found is None else found.user

    def review(self, token: str, audiences: Sequence[str] = ()) -> Reviewed | None:
        """None for what is no token of this cluster; raises Refused for one that is not good."""
        claims = self._claims(token)
        if claims is None:
            return None
        wanted = tuple(audiences) or self.audiences
        if claims.get("iss") == LEGACY_ISSUER:
            held: tuple[str, ...] = self.audiences
        else:
            held = tuple(claims.get("aud") or ())
        common = tuple(audience for audience in held if audience in wanted)
        if not common:
            raise Refused(f"token audiences {_quoted(held)} is invalid for the target audiences {_quoted(wanted)}")
        user = self._legacy_user(claims, token) if claims.get("iss") == LEGACY_ISSUER else self._bound_user(claims)
        return Reviewed(user, common)

    def _claims(self, token: str) -> dict[str, Any] | None:
        digest = sha256(token.encode("utf-8", "replace")).digest()
        known = self._verified.get(digest)
        if known is not None:
            return known
        try:
            if parts_of(token)[1].get("iss") not in (ISSUER, LEGACY_ISSUER):
                return None
            claims = self.key.verify(token)
        except BadToken:
            return None
        if len(self._verified) >= REMEMBERED_MAX:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = claims
        return claims

    def _bound_user(self, claims: Mapping[str, Any]) -> User:
        now, private = self._clock.now().timestamp(), claims["kubernetes.io"]
        if now > claims["exp"] + LEEWAY.total_seconds():
            raise Refused("service account token has expired")
        if now < claims["nbf"] - LEEWAY.total_seconds():
            raise Refused("service account token is not valid yet")
        namespace, account = private["namespace"], private["serviceaccount"]
        self._check_account(namespace, account["name"], account["uid"])
        for kind in ("secret", "pod", "node"):
            # The node of a pod's token is told, not checked: the pod is what it is bound to.
            if kind in private and not (kind == "node" and "pod" in private):
                self._check_bound(kind, namespace, private[kind])
        extra = {"credential-id": (f"JTI={claims['jti']}",)} if claims.get("jti") else {}
        for kind in ("pod", "node"):
            if kind in private:
                extra |= {f"{kind}-name": (private[kind]["name"],)}
                extra |= {f"{kind}-uid": (private[kind]["uid"],)} if private[kind].get("uid") else {}
        return _user(namespace, account["name"], account["uid"], extra)

    def _legacy_user(self, claims: Mapping[str, Any], token: str) -> User:
        namespace, name = str(claims.get(f"{_LEGACY}namespace")), str(claims.get(f"{_LEGACY}service-account.name"))
        uid = str(claims.get(f"{_LEGACY}service-account.uid"))
        secret = self._find("secrets", namespace, str(claims.get(f"{_LEGACY}secret.name")))
        if secret is None or secret["metadata"].get("deletionTimestamp"):
            raise Refused("Token has been invalidated")
        if (secret.get("data") or {}).get("token") != b64encode(token.encode()).decode():
            raise Refused("Token does not match server's copy")
        self._check_account(namespace, name, uid)
        return _user(namespace, name, uid, {})

    def _check_account(self, namespace: str, name: str, uid: str) -> None:
        account = self._find("serviceaccounts", namespace, name)
        if account is None:
            raise Refused(f'serviceaccounts "{name}" not found')
        if account["metadata"]["uid"] != uid:
            raise Refused(f"service account UID ({account['metadata']['uid']}) does not match claim ({uid})")
        if self._is_leaving(account):
            raise Refused(f"service account {namespace}/{name} has been deleted")

    def _check_bound(self, kind: str, namespace: str, claim: Mapping[str, str]) -> None:
        obj = self._find(f"{kind}s", namespace, claim["name"])
        if obj is None or self._is_leaving(obj):
            raise Refused("service account token has been invalidated")
        held = obj["metadata"]["uid"]
        if held != claim["uid"]:
            raise Refused(f"{kind} UID ({held}) does not match service account {kind} ref claim ({claim['uid']})")

    def _is_leaving(self, obj: Object) -> bool:
        """Deleted for longer than clocks may differ."""
        stamp = obj["metadata"].get("deletionTimestamp")
        return bool(stamp) and parse_time(stamp) < self._clock.now() - LEEWAY

    def _find(self, plural: str, namespace: str, name: str) -> Object | None:
        record = self._store.latest(plural, name if plural == "nodes" else f"{namespace}/{name}")
        return None if record is None else self._store.view(record)


def _name(namespace: str, account: str) -> str:
    return f"system:serviceaccount:{namespace}:{account}"


def _user(namespace: str, name: str, uid: str, extra: Mapping[str, tuple[str, ...]]) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return User(_name(namespace, name), groups, uid, {f"{_EXTRA}{key}": value for key, value in extra.items()})


def _quoted(words: Sequence[str]) -> str:
    return "[" + " ".join(f'"{word}"' for word in words) + "]"
