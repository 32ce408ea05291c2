"""The audit log: who asked for what, and what came of it, as a policy says; one JSON object a line.

    Policy (audit.k8s.io/v1): the first rule that matches a request gives its level
        None | Metadata | Request (and the object sent) | RequestResponse (and the object answered)
    stages: RequestReceived, ResponseStarted (watches and logs), ResponseComplete; ``omitStages`` leaves some out

Bodies are written only at the levels that ask for them: a policy that keeps secrets at Metadata keeps them out of the
file. What cannot be written is said once in the program's log and fails no request.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson
import yaml

from tiphys.cluster.apiserver.http.paths import ResourcePath
from tiphys.cluster.apiserver.users import User
from tiphys.machinery.errors import SpecError
from tiphys.runtime.clock import Clock
from tiphys.runtime.ids import Ids

logger = logging.getLogger(__name__)
LEVELS: Final = ("None", "Metadata", "Request", "RequestResponse")
STAGES: Final = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
_DECISION, _REASON = "authorization.k8s.io/decision", "authorization.k8s.io/reason"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as rules see it; ``where`` is None outside of resources."""

    user: User
    verb: str
    path: str
    where: ResourcePath | None = None

    @property
    def namespace(self) -> str:
        if self.where is None:
            return ""
        if self.where.plural == "namespaces" and not self.where.group:
            return self.where.name or ""
        return self.where.namespace or ""


@dataclass(frozen=True, slots=True)
class Resources:
    group: str
    resources: frozenset[str]
    names: frozenset[str]

    def match(self, where: ResourcePath) -> bool:
        if self.group != where.group:
            return False
        if not self.resources:
            return True
        if self.names and (where.name or "") not in self.names:
            return False
        sub = where.subresource
        wanted = {"*", f"{where.plural}/{sub}" if sub else where.plural, f"{where.plural}/*"}
        return not self.resources.isdisjoint(wanted | {f"*/{sub}"} if sub else wanted)


@dataclass(frozen=True, slots=True)
class Rule:
    """Empty lists match everything."""

    level: str
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    verbs: frozenset[str] = frozenset()
    resources: tuple[Resources, ...] = ()
    namespaces: frozenset[str] = frozenset()
    paths: tuple[str, ...] = ()
    omitted: frozenset[str] = frozenset()
    without_managers: bool = False

    def match(self, asked: Asked) -> bool:
        if self.users and asked.user.name not in self.users:
            return False
        if self.groups and self.groups.isdisjoint(asked.user.groups):
            return False
        if self.verbs and asked.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            return self._matches_resource(asked)
        if self.paths:
            return asked.where is None and any(_path_matches(pattern, asked.path) for pattern in self.paths)
        return True

    def _matches_resource(self, asked: Asked) -> bool:
        where = asked.where
        if where is None or (self.namespaces and asked.namespace not in self.namespaces):
            return False
        return not self.resources or any(each.match(where) for each in self.resources)


_NOTHING: Final = Rule("None")


def _path_matches(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


@dataclass(frozen=True)
class Policy:
    rules: Sequence[Rule]

    def rule_for(self, asked: Asked) -> Rule:
        """The first that matches; what none matches is not logged."""
        return next((rule for rule in self.rules if rule.match(asked)), _NOTHING)


def load(path: Path) -> Policy:
    """Reads a policy file. Raises SpecError naming the field."""
    try:
        return parse(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as err:
        raise SpecError(str(path), str(err)) from err


def parse(document: Any) -> Policy:
    """Raises SpecError naming the field."""
    if not isinstance(document, Mapping):
        raise SpecError("", "must be an object")
    for name, wanted in (("apiVersion", "audit.k8s.io/v1"), ("kind", "Policy")):
        if document.get(name) != wanted:
            raise SpecError(name, f"must be {wanted}, got {document.get(name)!r}")
    rules, omitted = document.get("rules"), _texts(document, "omitStages", "omitStages", STAGES)
    if not isinstance(rules, list) or not rules:
        raise SpecError("rules", "must be a list of at least one rule")
    without = document.get("omitManagedFields") is True
    return Policy([_rule(rule, f"rules[{at}]", omitted, without) for at, rule in enumerate(rules)])


def _rule(given: Any, at: str, omitted: frozenset[str], without_managers: bool) -> Rule:
    if not isinstance(given, Mapping):
        raise SpecError(at, "must be an object")
    if given.get("level") not in LEVELS:
        raise SpecError(f"{at}.level", f"must be one of {', '.join(LEVELS)}, got {given.get('level')!r}")
    resources = given.get("resources") or []
    if not isinstance(resources, list):
        raise SpecError(f"{at}.resources", "must be a list")
    paths = _texts(given, "nonResourceURLs", f"{at}.nonResourceURLs")
    if paths and (resources or given.get("namespaces")):
        raise SpecError(f"{at}.nonResourceURLs", "rules cannot apply to both regular resources and non-resource URLs")
    for path in paths:
        if path != "*" and (not path.startswith("/") or "*" in path[:-1]):
            raise SpecError(f"{at}.nonResourceURLs", f"must begin with / and have * only at its end, got {path!r}")
    return Rule(
        given["level"],
        _texts(given, "users", f"{at}.users"),
        _texts(given, "userGroups", f"{at}.userGroups"),
        _texts(given, "verbs", f"{at}.verbs"),
        tuple(_resources(each, f"{at}.resources[{number}]") for number, each in enumerate(resources)),
        _texts(given, "namespaces", f"{at}.namespaces"),
        tuple(sorted(paths)),
        omitted | _texts(given, "omitStages", f"{at}.omitStages", STAGES),
        given.get("omitManagedFields", without_managers) is True,
    )


def _resources(given: Any, at: str) -> Resources:
    if not isinstance(given, Mapping):
        raise SpecError(at, "must be an object")
    group = given.get("group") or ""
    if not isinstance(group, str) or "/" in group:
        raise SpecError(f"{at}.group", "must be a group without a version")
    names = _texts(given, "resourceNames", f"{at}.resourceNames")
    resources = _texts(given, "resources", f"{at}.resources")
    if names and not resources:
        raise SpecError(f"{at}.resourceNames", "using resourceNames requires at least one resource")
    return Resources(group, resources, names)


def _texts(given: Mapping[str, Any], name: str, at: str, known: Sequence[str] = ()) -> frozenset[str]:
    found = given.get(name) or []
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise SpecError(at, "must be a list of strings")
    for each in found:
        if known and each not in known:
            raise SpecError(at, f"must be of {', '.join(known)}, got {each!r}")
    return frozenset(found)


class LogFile:
    """Lines at the end of a file; at ``bytes_max`` it is put aside under the time's name and a new one begun."""

    def __init__(self, path: Path, clock: Clock, bytes_max: int, backups: int) -> None:
        """``-`` is standard output. Raises SpecError where the file cannot be opened."""
        self._path, self._clock, self._bytes_max, self._backups = path, clock, bytes_max, backups
        self._failed = False
        try:
            self._open()
        except OSError as err:
            raise SpecError("audit_log", f"{path}: {err.strerror}") from err

    def _open(self) -> None:
        if str(self._path) == "-":
            self._number, self._size = sys.stdout.fileno(), -1
            return
        self._number = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._number).st_size

    def write(self, line: bytes) -> None:
        try:
            if self._size >= 0:
                if self._size and self._size + len(line) > self._bytes_max:
                    self._rotate()
                self._size += len(line)
            os.write(self._number, line)
            self._failed = False
        except OSError as err:
            if not self._failed:
                logger.error("the audit log %s cannot be written: %s", self._path, err)
            self._failed = True

    def _rotate(self) -> None:
        stem, suffix = self._path.stem, self._path.suffix
        when = self._clock.now().astimezone(UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")
        with contextlib.suppress(FileNotFoundError):  # put aside before, when no new one could be opened
            os.replace(self._path, self._path.with_name(f"{stem}-{when}{suffix}"))
        full = self._number
        self._open()
        os.close(full)  # not before: its number would be somebody else's next file
        older = sorted(self._path.parent.glob(f"{stem}-[0-9]*T*{suffix}"))
        for path in older[: max(0, len(older) - self._backups)]:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._size >= 0:
            os.close(self._number)


@dataclass
class Entry:
    """One request under way. ``annotations`` are admission's to add to."""

    rule: Rule
    event: dict[str, Any]
    write: Callable[[Mapping[str, Any]], None]
    now: Callable[[], datetime]
    annotations: dict[str, str] = field(default_factory=dict)
    is_complete: bool = False

    def impersonates(self, user: User) -> None:
        self.event["impersonatedUser"] = user.info()

    def decided(self, *, allowed: bool) -> None:
        self.annotations |= {_DECISION: "allow" if allowed else "forbid", _REASON: ""}

    def sent(self, body: Any) -> None:
        """What came with the request: names what is made, and is kept where the level says so."""
        meta = body.get("metadata") if isinstance(body, Mapping) else None
        reference = self.event.get("objectRef")
        if isinstance(meta, Mapping) and reference is not None:
            for name in ("name", "namespace", "uid", "resourceVersion"):
                if meta.get(name) and not reference.get(name):
                    reference[name] = meta[name]
        if self.rule.level in ("Request", "RequestResponse") and body is not None:
            # Written now: the verbs may go on to complete what was sent.
            self.event["requestObject"] = orjson.Fragment(orjson.dumps(self._shown(body), default=_plain))

    def answered(self, code: int, body: bytes) -> None:
        """``body`` is JSON, or something else that is not kept."""
        self.event["responseStatus"] = {"metadata": {}, "code": code}
        if self.rule.level == "RequestResponse" and body.lstrip()[:1] == b"{":
            self.event["responseObject"] = self._shown(orjson.loads(body))

    def refused(self, status: Mapping[str, Any]) -> None:
        self.event["responseStatus"] = {key: status[key] for key in status if key not in ("kind", "apiVersion")}
        if self.rule.level == "RequestResponse":
            self.event["responseObject"] = status

    def reached(self, stage: str) -> None:
        self.is_complete = stage == "ResponseComplete"
        if stage in self.rule.omitted:
            return
        written = self.event | {"stage": stage, "stageTimestamp": _micro(self.now())}
        if self.annotations:
            written["annotations"] = self.annotations
        self.write(written)

    def _shown(self, body: Any) -> Any:
        if not self.rule.without_managers or not isinstance(body, Mapping):
            return body
        shown = _without_managers(body)
        if isinstance(shown.get("items"), list):
            shown["items"] = [_without_managers(item) for item in shown["items"]]
        return shown


def _without_managers(body: Mapping[str, Any]) -> dict[str, Any]:
    meta = body.get("metadata")
    if not isinstance(meta, Mapping):
        return dict(body)
    return {**body, "metadata": {key: value for key, value in meta.items() if key != "managedFields"}}


class Auditor:
    """Give it to the HTTP handler."""

    def __init__(self, policy: Policy, log: LogFile, clock: Clock, ids: Ids) -> None:
        self._policy, self._log, self._clock, self._ids = policy, log, clock, ids

    def begin(self, asked: Asked, uri: str, sources: Iterable[str], agent: str) -> Entry | None:
        """A request has come; None where the policy does not want to know of it."""
        rule = self._policy.rule_for(asked)
        if rule.level == "None":
            return None
        event: dict[str, Any] = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": rule.level,
            "auditID": self._ids.uid(),
            "stage": "",
            "requestURI": uri,
            "verb": asked.verb,
            "user": asked.user.info() if asked.user.name else {},
            "sourceIPs": list(sources),
        }
        if agent:
            event["userAgent"] = agent
        if asked.where is not None:
            event["objectRef"] = _reference(asked.where, asked.namespace)
        event["requestReceivedTimestamp"] = _micro(self._clock.now())
        entry = Entry(rule, event, self._write, self._clock.now)
        entry.reached("RequestReceived")
        return entry

    def _write(self, event: Mapping[str, Any]) -> None:
        self._log.write(orjson.dumps(event, default=_plain) + b"\n")

    def close(self) -> None:
        self._log.close()


def _reference(where: ResourcePath, namespace: str) -> dict[str, Any]:
    found = {
        "resource": where.plural,
        "namespace": namespace,
        "name": where.name,
        "apiGroup": where.group,
        "apiVersion": where.version,
        "subresource": where.subresource,
    }
    return {key: value for key, value in found.items() if value}


def _micro(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
