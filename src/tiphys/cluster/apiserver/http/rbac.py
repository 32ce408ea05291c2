"""Role-based access control: roles and bindings in the store, asked at every request that comes over the network.

    user, groups ──(Cluster)RoleBinding──> (Cluster)Role ──rules──> verb × group × resource × name

``system:masters`` may everything. Discovery and health are open to whoever is known, as the original's bootstrap roles
say. Aggregated roles are the sum of those that their labels select, computed when asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tiphys.cluster.apiserver.http.identity import details_of, refusal_text
from tiphys.cluster.apiserver.http.paths import ResourcePath
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.apiserver.users import AUTHENTICATED, User
from tiphys.machinery.errors import Forbidden
from tiphys.machinery.selectors import SelectorError, from_structured

GROUP: Final = "rbac.authorization.k8s.io"
_ROLES: Final = f"roles.{GROUP}"
_CLUSTER_ROLES: Final = f"clusterroles.{GROUP}"
_BINDINGS: Final = f"rolebindings.{GROUP}"
_CLUSTER_BINDINGS: Final = f"clusterrolebindings.{GROUP}"
_DISCOVERY: Final = ("/api", "/apis", "/healthz", "/livez", "/openapi", "/readyz", "/version")
_REVIEWS: Final = ("selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews")

Rule = Mapping[str, Any]


@dataclass(frozen=True)
class Attributes:
    """What is asked for; ``path`` for anything that is no resource."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class Rbac:
    """An ``Authorizer`` over the roles and bindings of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def check(self, user: User, verb: str, where: ResourcePath) -> None:
        """Raises Forbidden."""
        asked = Attributes(
            verb, where.group, where.plural, where.subresource or "", where.namespace or "", where.name or ""
        )
        if not self.allows(user, asked):
            lost = "".join(sorted(self._lost_roles(user, asked.namespace)))
            raise Forbidden(refusal_text(user, verb, where) + (f": RBAC: {lost}" if lost else ""), details_of(where))

    def check_path(self, user: User, verb: str, path: str) -> None:
        """Raises Forbidden."""
        if not self.allows(user, Attributes(verb, path=path)):
            raise Forbidden(f'forbidden: User "{user.name}" cannot {verb} path "{path}"', {})

    def allows(self, user: User, asked: Attributes) -> bool:
        if user.is_master:
            return True
        if asked.path:
            known = AUTHENTICATED in user.groups and asked.verb == "get"
            if known and any(asked.path == p or asked.path.startswith(f"{p}/") for p in _DISCOVERY):
                return True
        elif asked.resource in _REVIEWS and asked.verb == "create" and AUTHENTICATED in user.groups:
            return True
        return any(_fits(rule, asked) for rule in self.rules(user, asked.namespace))

    def rules(self, user: User, namespace: str) -> Iterator[Rule]:
        """All rules that hold for a user in a namespace ("": those of the whole cluster)."""
        for binding in self._views(_CLUSTER_BINDINGS):
            if _binds(binding, user, ""):
                yield from self.role_rules(binding.get("roleRef") or {}, "") or ()
        if namespace:
            for binding in self._views(_BINDINGS, namespace):
                if _binds(binding, user, namespace):
                    yield from self.role_rules(binding.get("roleRef") or {}, namespace) or ()

    def _lost_roles(self, user: User, namespace: str) -> Iterator[str]:
        """What is said of bindings to roles that are not there."""
        bindings = [(binding, "") for binding in self._views(_CLUSTER_BINDINGS)]
        if namespace:
            bindings += [(binding, namespace) for binding in self._views(_BINDINGS, namespace)]
        lost = []
        for binding, where in bindings:
            reference = binding.get("roleRef") or {}
            if _binds(binding, user, where) and self.role_rules(reference, where) is None:
                kind = "role" if reference.get("kind") == "Role" else "clusterrole"
                lost.append(f'{kind}.{GROUP} "{reference.get("name")}" not found')
        if lost:
            yield lost[0] if len(lost) == 1 else f"[{', '.join(dict.fromkeys(lost))}]"

    def role_rules(self, reference: Mapping[str, Any], namespace: str) -> Sequence[Rule] | None:
        """The rules of the role that a binding refers to; None where there is no such role."""
        if reference.get("kind") == "Role":
            record = self._store.get(_ROLES, f"{namespace}/{reference.get('name')}")
        else:
            record = self._store.get(_CLUSTER_ROLES, str(reference.get("name")))
        if record is None:
            return None
        role = self._store.view(record)
        return [*(role.get("rules") or ()), *self._aggregated(role)]

    def _aggregated(self, role: Object) -> Iterator[Rule]:
        selectors = (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()
        for structured in selectors:
            try:
                selector = from_structured(structured)
            except SelectorError:
                continue
            for other in self._views(_CLUSTER_ROLES):
                if other is not role and selector.matches(other["metadata"].get("labels") or {}):
                    yield from other.get("rules") or ()

    def _views(self, collection: str, namespace: str | None = None) -> Iterator[Object]:
        found = self._store.collection(collection)
        for key in found.keys(namespace):
            yield self._store.view(found.records[key])


def covers(rule: Rule, part: Mapping[str, Any]) -> bool:
    """Whether a rule gives all of a part: one verb on one resource (perhaps one name of it) or one path."""
    if not _has(rule.get("verbs"), part["verbs"][0]):
        return False
    if "nonResourceURLs" in part:
        return any(_path_fits(str(p), part["nonResourceURLs"][0]) for p in rule.get("nonResourceURLs") or ())
    if not _has(rule.get("apiGroups"), part["apiGroups"][0]):
        return False
    resource = str(part["resources"][0])
    wanted = {"*", resource} | ({f"*/{resource.partition('/')[2]}"} if "/" in resource else set())
    if not wanted & set(rule.get("resources") or ()):
        return False
    names = rule.get("resourceNames")
    return not names or (bool(part.get("resourceNames")) and part["resourceNames"][0] in names)


def _binds(binding: Object, user: User, namespace: str) -> bool:
    for subject in binding.get("subjects") or ():
        kind, name = subject.get("kind"), subject.get("name")
        if kind == "User" and name == user.name:
            return True
        if kind == "Group" and name in user.groups:
            return True
        if kind == "ServiceAccount":
            where = subject.get("namespace") or namespace
            if user.name == f"system:serviceaccount:{where}:{name}":
                return True
    return False


def _fits(rule: Rule, asked: Attributes) -> bool:
    if not _has(rule.get("verbs"), asked.verb):
        return False
    if asked.path:
        return any(_path_fits(str(pattern), asked.path) for pattern in rule.get("nonResourceURLs") or ())
    if not _has(rule.get("apiGroups"), asked.group):
        return False
    resources = rule.get("resources") or ()
    wanted = {"*", asked.full_resource} | ({f"*/{asked.subresource}"} if asked.subresource else set())
    if not wanted & set(resources):
        return False
    names = rule.get("resourceNames")
    return not names or asked.name in names


def _has(values: Sequence[str] | None, wanted: str) -> bool:
    return values is not None and ("*" in values or wanted in values)


def _path_fits(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern[:-1]))
