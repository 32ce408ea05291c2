"""Names and name rules: node ids, pod names, locks, validators (one call per row).

Errors are compared with their text, except panics of the original: there we raise our own error, so only the fact is
compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from tests.conformance.formats._calls import Answer, answer, apis, judge_by
from tests.conformance.golden import Format
from tiphys.lang import name_rules, names

Row = Mapping[str, Any]


def pod_name(row: Row) -> str:
    node_id = names.node_id(row["workflow"], row["in"])
    return names.pod_name(row["workflow"], row["in"], row["template"], node_id, row["version"])


def artifact_gc(row: Row) -> dict[str, str]:
    metadata = row["metadata"]
    identity = (row["serviceAccount"], metadata.get("labels", {}), metadata.get("annotations", {}))
    pod = names.artifact_gc_pod_name(row["in"], row["strategy"], *identity)
    return {"label": names.artifact_gc_pod_label(pod), "pod": pod}


def decode_lock(row: Row) -> dict[str, str]:
    lock = names.decode_lock(row["in"])
    return {"key": lock.key, "kind": lock.kind, "namespace": lock.namespace, "resource": lock.resource}


CALLS: dict[str, Callable[[Row], Any]] = {
    "nodeID": lambda row: names.node_id(row["workflow"], row["in"]),
    "podName": pod_name,
    "podNameVersion": lambda row: names.pod_name_version(row["annotations"]),
    "generateNodeName": lambda row: names.item_node_name(row["name"], row["index"], row["in"]),
    "recoverIndex": lambda row: names.recover_index(row["in"]),
    "artGCPod": artifact_gc,
    "cronChild": lambda row: names.cron_child_name(row["in"], datetime.fromisoformat(row["at"])),
    "backfillPrefix": lambda row: names.backfill_prefix(row["in"], row["ops"]),
    "mutex": lambda row: str(names.mutex_lock(row["ref"], row["in"])),
    "semaphore": lambda row: str(names.semaphore_lock(row["ref"], row["in"])),
    "decodeLock": decode_lock,
    "displayName": lambda row: name_rules.is_display_name(row["in"]),
    "cacheKey": lambda row: name_rules.is_cache_key(row["in"]),
    "fieldName": lambda row: name_rules.workflow_field_name(row["in"]),
    "paramName": lambda row: name_rules.parameter_name(row["in"]),
    "dns1123Label": lambda row: name_rules.dns1123_label(row["in"]),
    "dns1123Subdomain": lambda row: name_rules.dns1123_subdomain(row["in"]),
    "dns1035Label": lambda row: name_rules.dns1035_label(row["in"]),
    "labelValue": lambda row: name_rules.label_value(row["in"]),
    "qualifiedName": lambda row: name_rules.qualified_name(row["in"]),
    "configMapKey": lambda row: name_rules.config_map_key(row["in"]),
    "envVarName": lambda row: name_rules.env_var_name(row["in"]),
}


def ask(row: Row) -> Answer:
    return answer(lambda: CALLS[row["api"]](row), names.NamingError)


def same(expected: Answer, got: Answer, row: Row) -> bool:
    panicked = row.get("errorKind") == "panic" or str(expected.get("error")).startswith("PANIC:")
    return "error" in got if panicked else expected == got


FORMATS = (Format("names", lambda s: bool(s.rows) and apis(s) <= set(CALLS), judge_by(ask, same)),)
