"""Acting as somebody else (``kubectl --as``): the Impersonate headers, each of which needs its own right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from multidict import CIMultiDictProxy

from tiphys.cluster.apiserver.http.identity import Authorizer
from tiphys.cluster.apiserver.http.paths import ResourcePath
from tiphys.cluster.apiserver.users import ANONYMOUS, AUTHENTICATED, User
from tiphys.machinery.errors import BadRequest

_ACCOUNT: Final = "system:serviceaccount:"
_EXTRA: Final = "impersonate-extra-"


def impersonated(headers: CIMultiDictProxy[str], user: User, authorizer: Authorizer) -> User:
    """Whom the request is made as; raises Forbidden where the user may not, BadRequest for groups of nobody."""
    name = headers.get("Impersonate-User", "")
    groups = headers.getall("Impersonate-Group", [])
    uid = headers.get("Impersonate-Uid", "")
    extra = {
        unquote(key[len(_EXTRA) :]).lower(): tuple(headers.getall(key))
        for key in headers
        if key.lower().startswith(_EXTRA)
    }
    if not name:
        if groups or uid or extra:
            asked = [f"{{Group  {group}    }}" for group in groups]
            raise BadRequest(f"requested [{' '.join(asked)}] without impersonating a user")
        return user
    for where in _rights(name, groups, uid, extra):
        authorizer.check(user, "impersonate", where)
    return User(name, _groups(name, groups), uid, extra)


def _rights(name: str, groups: list[str], uid: str, extra: dict[str, tuple[str, ...]]) -> Iterator[ResourcePath]:
    if name.startswith(_ACCOUNT):
        namespace, _, account = name.removeprefix(_ACCOUNT).partition(":")
        yield ResourcePath("", "v1", "serviceaccounts", namespace, account)
    else:
        yield ResourcePath("", "v1", "users", None, name)
    for group in groups:
        yield ResourcePath("", "v1", "groups", None, group)
    if uid:
        yield ResourcePath("authentication.k8s.io", "v1", "uids", None, uid)
    for key, values in extra.items():
        for value in values:
            yield ResourcePath("authentication.k8s.io", "v1", "userextras", None, value, key)


def _groups(name: str, groups: list[str]) -> tuple[str, ...]:
    """The groups that come with a name: those asked for, a service account's own, and "authenticated"."""
    if name == ANONYMOUS.name:
        return ANONYMOUS.groups
    found = list(groups)
    if not groups and name.startswith(_ACCOUNT):
        namespace = name.removeprefix(_ACCOUNT).partition(":")[0]
        found = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
    return tuple(found) if AUTHENTICATED in found else (*found, AUTHENTICATED)
