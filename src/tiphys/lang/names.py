"""Names that Argo derives from other names: node ids, pod names, lock names, children of cron workflows.

They are part of the interface: users find pods by them, caches and archives keep them, so each is the original's to
the byte. Hashes are 32-bit FNV-1a over UTF-8. Rules that names must satisfy are in `name_rules`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

POD_NAME_VERSION_ANNOTATION = "workflows.argoproj.io/pod-name-format"

# A Kubernetes name has at most 253 characters; ten are kept for the hash and one for the dash before it.
_PREFIX_LENGTH_MAX = 253 - 10 - 1


class NamingError(ValueError):
    """A name cannot be made, or cannot be read back, from the given parts."""


def fnv32a(data: bytes) -> int:
    """The 32-bit FNV-1a hash."""
    value = 0x811C9DC5
    for byte in data:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


@lru_cache(maxsize=64)
def _hash(name: str) -> int:
    """The hash of a node's name; it is asked for several times in a row, as the name of the pod is."""
    return fnv32a(name.encode())


def node_id(workflow: str, node_name: str) -> str:
    """The key of a node in status.nodes: ``<workflow>-<hash of the node's name>``; the root's is the bare name."""
    return workflow if node_name == workflow else f"{workflow}-{_hash(node_name)}"


@lru_cache(maxsize=64)
def pod_name(workflow: str, node_name: str, template: str, node_id: str, version: str = "v2") -> str:
    """The pod of a node. Version v1 is the node's id; v2 puts the template's name before the hash."""
    if version == "v1":
        return node_id
    if workflow == node_name:
        return workflow
    prefix = f"{workflow}-{template}" if template else workflow
    return f"{_cut(prefix)}-{_hash(node_name)}"


def pod_name_version(annotations: Mapping[str, str] | None, default: str = "v2") -> str:
    """Which pod names a workflow uses: ``default`` without the annotation, v2 for an unknown value of it."""
    version = (annotations or {}).get(POD_NAME_VERSION_ANNOTATION)
    if version is None:
        return default
    return version if version in ("v1", "v2") else "v2"


def item_node_name(name: str, index: int, item_text: str) -> str:
    """``step(0:item)``: the name of one expansion; parentheses vanish from the item.

    Raises when the index could not be read back from the result (a ``(`` or ``:`` in the step's own name).
    """
    made = f"{name}({index}:{item_text.replace('(', '').replace(')', '')})"
    found = recover_index(made)
    if found != index:
        raise NamingError(f"unrecoverable digit in generateName; wanted '{index}' and got '{found}'")
    return made


def recover_index(name: str) -> int:
    """The index in ``step(3:item)``, or -1. Raises when the first colon comes before the first parenthesis."""
    start, end = name.find("("), name.find(":")
    if start < 0 or end < 0:
        return -1
    if end < start:
        # the original cuts a slice with negative length here and panics
        raise NamingError(f"cannot read the index of {name!r}: ':' comes before '('")
    digits = name[start + 1 : end]
    return int(digits) if _ATOI.fullmatch(digits) else -1


def cron_child_name(cron_workflow: str, scheduled: datetime) -> str:
    """The workflow that a CronWorkflow starts for one moment: its name and the Unix second."""
    return f"{cron_workflow}-{int(scheduled.timestamp() // 1)}"


def backfill_prefix(cron_workflow: str, operation: str) -> str:
    """The generateName (without its final dash) of workflows made by ``argo cron backfill``."""
    return _cut(f"{cron_workflow}-backfill-{operation.lower()}")


def artifact_gc_pod_name(
    workflow: str, strategy: str, service_account: str, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> str:
    """The pod that deletes artifacts: one for each strategy and distinct pod identity."""
    if strategy not in _GC_STRATEGIES:
        raise NamingError(f'ArtifactGCStrategy "{strategy}" not valid')
    pairs = [*sorted(labels.items()), *sorted(annotations.items())]
    identity = service_account + "".join(key + value for key, value in pairs)
    return f"{workflow}-artgc-{_GC_STRATEGIES[strategy]}-{fnv32a(identity.encode())}"


def artifact_gc_pod_label(pod: str) -> str:
    """The label value by which tasks find the pod that works on them."""
    return str(fnv32a(pod.encode()))


@dataclass(frozen=True)
class LockName:
    """A lock as the workflow status stores it. ``kind`` is ConfigMap, Database or Mutex; only ConfigMap has a key."""

    namespace: str
    kind: str
    resource: str
    key: str = ""

    def __str__(self) -> str:
        return "/".join((self.namespace, self.kind, self.resource, *([self.key] if self.kind == "ConfigMap" else ())))


def decode_lock(text: str) -> LockName:
    """Reads ``ns/ConfigMap/name/key``, ``ns/Mutex/name`` or ``ns/Database/name``."""
    parts = text.split("/", 2)
    if len(parts) < 3:
        raise NamingError("Invalid lock key: unknown format")
    namespace, kind, rest = parts
    if kind in ("Mutex", "Database"):
        return _checked(LockName(namespace, kind, rest))
    if kind != "ConfigMap":
        raise NamingError(f"Invalid lock key, unexpected kind: {kind}")
    if rest.count("/") != 1:
        raise NamingError("Invalid ConfigMap lock key: unknown format")
    return _checked(LockName(namespace, kind, *rest.split("/")))


def mutex_lock(mutex: Mapping[str, Any], workflow_namespace: str) -> LockName:
    """The lock of an entry of ``synchronization.mutexes``."""
    namespace = mutex.get("namespace") or workflow_namespace
    return _encodable(LockName(namespace, "Database" if mutex.get("database") else "Mutex", mutex.get("name", "")))


def semaphore_lock(semaphore: Mapping[str, Any], workflow_namespace: str) -> LockName:
    """The lock of an entry of ``synchronization.semaphores``."""
    namespace = semaphore.get("namespace") or workflow_namespace
    config_map, database = semaphore.get("configMapKeyRef"), semaphore.get("database")
    if config_map is not None and database is not None:
        raise NamingError("invalid semaphore with both ConfigMapKeyRef and Database")
    if config_map is not None:
        return _encodable(LockName(namespace, "ConfigMap", config_map.get("name", ""), config_map.get("key", "")))
    if database is not None:
        return _encodable(LockName(namespace, "Database", database.get("key", "")))
    raise NamingError("cannot get LockName for a Semaphore without a ConfigMapRef or Database")


_GC_STRATEGIES = {"OnWorkflowCompletion": "wfcomp", "OnWorkflowDeletion": "wfdel"}
_ATOI = re.compile(r"[+-]?[0-9]{1,18}")


def _cut(prefix: str) -> str:
    """Cuts at bytes, as Go slices do; half a character at the end is dropped."""
    data = prefix.encode()
    return prefix if len(data) <= _PREFIX_LENGTH_MAX else data[:_PREFIX_LENGTH_MAX].decode("utf-8", "ignore")


def _encodable(lock: LockName) -> LockName:
    """A lock whose text would not read back the same must never be stored."""
    try:
        decoded = decode_lock(str(lock))
    except NamingError as err:
        raise NamingError(f"unable to decode lock ({lock}) that was just encoded: {err}") from err
    if decoded != lock:
        raise NamingError(f"lock {lock} that was just encoded does not match encoding")
    return lock


def _checked(lock: LockName) -> LockName:
    for value, what in _required_parts(lock):
        if not value:
            raise NamingError(f"Invalid lock key: {what}")
    return lock


def _required_parts(lock: LockName) -> Iterable[tuple[str, str]]:
    yield lock.namespace, "Namespace is missing"
    yield lock.resource, "ResourceName is missing"
    if lock.kind == "ConfigMap":
        yield lock.key, "Key is missing for ConfigMap lock"
