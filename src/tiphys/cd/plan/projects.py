"""AppProject: which sources, destinations, kinds and namespaces its applications may use; and whether it may be stored.

Patterns are globs; one with ``!`` denies and beats all others. Of namespaced kinds everything is permitted unless
there is a list, of cluster-wide ones nothing. Source: argo-cd pkg/apis/application/v1alpha1/app_project_types.go;
judged by golden/cd project-permissions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from tiphys.cd.plan.objects import Object, gvk_of, name_of, namespace_of
from tiphys.cd.plan.windows import Window
from tiphys.cd.sources.urls import normalized
from tiphys.lang import globs
from tiphys.lang.goregexp import RegexpError, compile_pattern

_ROLE_NAME: Final = re.compile(r"[a-zA-Z0-9]([-_a-zA-Z0-9]*[a-zA-Z0-9])?")
_ACTIONS: Final = frozenset(("get", "create", "update", "delete", "sync", "override", "rollback", "*"))
_ACTION_FAMILIES: Final = ("action/", "update/", "delete/")
_POLICY_RESOURCES: Final = frozenset(("applications", "applicationsets", "logs", "exec", "clusters", "repositories"))
_NO_ACCOUNT: Final = frozenset("!*[]{}\\/")


class ProjectError(ValueError):
    """A project that may not be stored. ``code`` is the gRPC status that the original answers with."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"rpc error: code = {code} desc = {message}" if code else message)
        self.code = code
        self.message = message


class Cluster(NamedTuple):
    """A cluster as projects see it."""

    server: str
    name: str


ProjectClusters = Callable[[str], Iterable[Cluster]]
"""The clusters that belong to a project alone."""


def _none(_project: str) -> Iterable[Cluster]:
    return ()


@dataclass(frozen=True)
class Project:
    """The rules of one project. ``own_clusters`` is asked only where the project wants its own clusters used."""

    name: str
    spec: Mapping[str, Any]
    own_clusters: ProjectClusters = _none

    @classmethod
    def of(cls, obj: Object, own_clusters: ProjectClusters = _none) -> Project:
        return cls(name_of(obj), obj.get("spec") or {}, own_clusters)

    def permits_source(self, url: str) -> bool:
        wanted, permitted = normalized(url), False
        for pattern in self.spec.get("sourceRepos") or ():
            denies = pattern.startswith("!")
            own = normalized(pattern.removeprefix("!"))
            fits = own == "*" or _fits(own, wanted, "/")
            if denies and fits:
                return False
            permitted = permitted or denies or fits
        return permitted

    def permits_destination(self, cluster: Cluster | None, namespace: str) -> bool:
        if cluster is None or not self._matches_destination(cluster, namespace):
            return False
        if not self.spec.get("permitOnlyProjectScopedClusters"):
            return True
        return any(own.name == cluster.name or own.server == cluster.server for own in self.own_clusters(self.name))

    def _matches_destination(self, cluster: Cluster, namespace: str) -> bool:
        permitted = False
        for item in self.spec.get("destinations") or ():
            name, server, space = (item.get(each) or "" for each in ("name", "server", "namespace"))
            name_fits = cluster.name != "" and _fits_or_denies(name, cluster.name)
            server_fits = cluster.server != "" and _fits_or_denies(server, cluster.server)
            space_fits = _fits_or_denies(space, namespace)
            if (server_fits or name_fits) and space_fits:
                permitted = True
                continue
            # Of server and namespace one fits: the other may be the one that is denied.
            other = (space if server_fits else server) if space_fits != server_fits else ""
            if (not name_fits and name.startswith("!")) or other.startswith("!"):
                return False
        return permitted

    def permits_kind(self, group: str, kind: str, name: str, *, namespaced: bool) -> bool:
        scope = "namespace" if namespaced else "cluster"
        white, black = (self.spec.get(f"{scope}Resource{colour}list") for colour in ("White", "Black"))
        only = None if namespaced else name
        listed = (namespaced and white is None) or _lists(white or (), group, kind, only)
        return listed and not _lists(black or (), group, kind, only)

    def permits(self, obj: Object, cluster: Cluster | None) -> bool:
        """Whether a live object may be seen and touched: its kind, and its own namespace where it has one."""
        gvk, namespace = gvk_of(obj), namespace_of(obj)
        if not self.permits_kind(gvk.group, gvk.kind, name_of(obj), namespaced=bool(namespace)):
            return False
        return not namespace or self.permits_destination(cluster, namespace)

    def permits_application_in(self, namespace: str, control_namespace: str) -> bool:
        """Whether applications of this project may live in a namespace."""
        if namespace in ("", control_namespace):
            return True
        return any(_names(pattern, namespace) for pattern in self.spec.get("sourceNamespaces") or ())

    def policies(self) -> str:
        """The access rules of its roles, as lines of policy."""
        lines: list[str] = []
        for role in self.spec.get("roles") or ():
            subject = f"proj:{self.name}:{role.get('name', '')}"
            lines.append(f"p, {subject}, projects, get, {self.name}, allow")
            lines += map(_spaced, role.get("policies") or ())
            lines += (f"g, {group}, {subject}" for group in role.get("groups") or ())
        return "\n".join(lines)

    def check(self) -> None:
        """Raises ProjectError, or windows.WindowError for a window that cannot be read."""
        _check_destinations(self.spec.get("destinations") or ())
        _check_once(self.spec.get("sourceNamespaces") or (), "source namespace")
        _check_once(self.spec.get("sourceRepos") or (), "source repository")
        names: set[str] = set()
        for role in self.spec.get("roles") or ():
            _check_role(self.name, role, names)
        _check_windows(self.spec.get("syncWindows") or ())
        _check_accounts(self.spec.get("destinationServiceAccounts") or ())


def impersonated(project: Project, server: str, namespace: str) -> str | None:
    """The service account that syncs to a destination run as: the first entry that fits; None where none does."""
    for item in project.spec.get("destinationServiceAccounts") or ():
        if _fits(item.get("server") or "", server) and _fits(item.get("namespace") or "", namespace):
            account = str(item.get("defaultServiceAccount", ""))
            return account if ":" in account else f"{namespace}:{account}"
    return None


def _spaced(policy: str) -> str:
    first, *others = policy.split(",")
    return ", ".join((first, *(part.strip(" ") for part in others)))


def _fits(pattern: str, text: str, separators: str = "") -> bool:
    try:
        return pattern == "*" or globs.matches(pattern, text, separators)
    except globs.GlobError:
        return False


def _fits_or_denies(pattern: str, text: str) -> bool:
    """A denying pattern fits what it does not name."""
    return not _fits(pattern[1:], text) if pattern.startswith("!") else _fits(pattern, text)


def _names(pattern: str, text: str) -> bool:
    """A pattern between slashes is an expression."""
    if pattern.startswith("/") and pattern.endswith("/") and len(pattern) > 1:
        try:
            if compile_pattern(pattern[1:-1]).search(text) is not None:
                return True
        except RegexpError:
            pass
    return _fits(pattern, text)


def _lists(items: Sequence[Mapping[str, Any]], group: str, kind: str, name: str | None) -> bool:
    """Whether an entry fits; names count only for cluster-wide kinds (``name`` not None)."""
    return any(
        _path_fits(item.get("kind") or "", kind)
        and _path_fits(item.get("group") or "", group)
        and (name is None or not item.get("name") or _path_fits(item["name"], name))
        for item in items
    )


def _path_fits(pattern: str, text: str) -> bool:
    try:
        return globs.path_match(pattern, text)
    except globs.GlobError:
        return False


# Validation


def _invalid(message: str) -> ProjectError:
    return ProjectError("InvalidArgument", message)


def _check_destinations(destinations: Iterable[Mapping[str, Any]]) -> None:
    known: set[str] = set()
    for item in destinations:
        name, server, namespace = (item.get(each) or "" for each in ("name", "server", "namespace"))
        for field, value in (("name", name), ("server", server), ("namespace", namespace)):
            if value == "!*":
                raise _invalid(f"{field} has an invalid format, '!*'")
        key = f"{name if not server and name else server}/{namespace}"
        if key in known:
            raise _invalid(f"destination '{key}' already added")
        known.add(key)


def _check_once(values: Iterable[str], what: str) -> None:
    known: set[str] = set()
    for value in values:
        if value == "!*" and what == "source repository":
            raise _invalid(f"{what} has an invalid format, '!*'")
        if value in known:
            raise _invalid(f"{what} '{value}' already added")
        known.add(value)


def _check_role(project: str, role: Mapping[str, Any], names: set[str]) -> None:
    name = role.get("name") or ""
    if name in names:
        raise ProjectError("AlreadyExists", f"role '{name}' already exists")
    if not _ROLE_NAME.fullmatch(name):
        rule = (
            "Must consist of alphanumeric characters, '-' or '_', and must start and end with an alphanumeric character"
        )
        raise _invalid(f"invalid role name '{name}'. {rule}")
    names.add(name)
    for what, items, check in (
        ("policy", role.get("policies") or (), lambda policy: _check_policy(project, name, policy)),
        ("group", role.get("groups") or (), _check_group),
    ):
        known: set[str] = set()
        for item in items:
            if item in known:
                raise ProjectError("AlreadyExists", f"{what} '{item}' already exists for role '{name}'")
            check(item)
            known.add(item)


def _check_policy(project: str, role: str, policy: str) -> None:
    def wrong(why: str) -> ProjectError:
        return _invalid(f"invalid policy rule '{policy}': {why}")

    parts = [part.strip(" ") for part in policy.split(",")]
    if len(parts) != 6 or parts[0] != "p":
        raise wrong("must be of the form: 'p, sub, res, act, obj, eft'")
    _, subject, resource, action, obj, effect = parts
    if subject != f"proj:{project}:{role}":
        raise wrong(f"policy subject must be: 'proj:{project}:{role}', not '{subject}'")
    if resource not in _POLICY_RESOURCES:
        known = "'applications', 'applicationsets', 'repositories', 'exec', 'logs' or 'clusters'"
        raise wrong(f"project resource must be: {known}, not '{resource}'")
    if action not in _ACTIONS and not any(family in action for family in _ACTION_FAMILIES):
        raise wrong(f"invalid action '{action}'")
    if not re.fullmatch(rf"{re.escape(project)}(/[*\w\-.]+)?/[*\w\-.]+", obj, re.ASCII):
        forms = f"'{project}/*', '{project}[/<NAMESPACE>]/<APPNAME>' or '{project}/<APPNAME>'"
        raise wrong(f"object must be of form {forms}, not '{obj}'")
    if effect not in ("allow", "deny"):
        raise wrong("effect must be: 'allow' or 'deny'")


def _check_group(group: str) -> None:
    name = group.strip()
    if len(name) > 1 and name.startswith('"') and name.endswith('"'):
        name = name[1:-1]
    elif "," in name:
        raise _invalid(f"group '{name}' must be quoted")
    if not name:
        raise _invalid(f"group '{name}' is empty")
    if any(character in '"\n\r\t' for character in name):
        raise _invalid(f"group '{name}' contains invalid characters")
    if len(group) > 1 and group[0].isspace():
        raise _invalid(f"group '{name}' contains a leading space")
    if len(group) > 1 and group[-1].isspace():
        raise _invalid(f"group '{name}' contains a trailing space")


def _check_windows(specs: Iterable[Mapping[str, Any] | None]) -> None:
    known: set[Any] = set()
    for spec in specs:
        if spec is None:
            continue
        window = Window.of(spec)
        named = f"kind '{window.kind}', schedule '{window.schedule}', and duration '{window.duration}'"
        if window.identity in known:
            raise ProjectError("AlreadyExists", f"sync window with {named} already exists")
        window.check()
        if not (window.applications or window.namespaces or window.clusters):
            shown = f"'{window.kind}':'{window.schedule}':'{window.duration}'"
            raise ProjectError("OutOfRange", f"window {shown} requires one of application, cluster or namespace")
        known.add(window.identity)


def _check_accounts(items: Iterable[Mapping[str, Any]]) -> None:
    known: set[str] = set()
    for item in items:
        server, namespace = item.get("server") or "", item.get("namespace") or ""
        account = item.get("defaultServiceAccount") or ""
        for field, value in (("server", server), ("namespace", namespace)):
            if "!" in value:
                raise _invalid(f"{field} has an invalid format, '{value}'")
        if not account.strip(" ") or _NO_ACCOUNT & set(account):
            raise _invalid(f"defaultServiceAccount has an invalid format, '{account}'")
        for field, value in (("server", server), ("namespace", namespace)):
            try:
                globs.matches(value, "")
            except globs.GlobError as err:
                raise _invalid(f"{field} has an invalid format, '{value}'") from err
        key = f"{server}/{namespace}"
        if key in known:
            raise _invalid(f"destinationServiceAccount '{key}' already added")
        known.add(key)
