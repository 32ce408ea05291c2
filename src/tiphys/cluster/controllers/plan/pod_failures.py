"""A job's podFailurePolicy: which rule a failed pod matches. Source: pkg/controller/job/pod_failure_policy.go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """``action`` is FailJob, FailIndex, Ignore or Count."""

    action: str
    message: str


def judge(policy: Mapping[str, Any] | None, pod: Object) -> Verdict | None:
    """What the first matching rule says of a failed pod; None: it counts like any other."""
    meta = pod["metadata"]
    name = f"{meta['namespace']}/{meta['name']}"
    for number, rule in enumerate((policy or {}).get("rules") or ()):
        action = rule["action"]
        if rule.get("onExitCodes") is not None:
            found = _exit_code(rule["onExitCodes"], pod)
            if found is not None:
                container, code = found
                text = f"Container {container} for pod {name} failed with exit code {code}"
                return Verdict(action, f"{text} matching {action} rule at index {number}")
        elif rule.get("onPodConditions") is not None:
            kind = _condition(rule["onPodConditions"], pod)
            if kind is not None:
                return Verdict(action, f"Pod {name} has condition {kind} matching {action} rule at index {number}")
    return None


def _exit_code(requirement: Mapping[str, Any], pod: Object) -> tuple[str, int] | None:
    status = pod.get("status") or {}
    for row in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
        if requirement.get("containerName") not in (None, row["name"]):
            continue
        code = ((row.get("state") or {}).get("terminated") or {}).get("exitCode")
        if code and (code in requirement["values"]) == (requirement["operator"] == "In"):
            return row["name"], int(code)
    return None


def _condition(patterns: list[Mapping[str, Any]], pod: Object) -> str | None:
    held = {(each["type"], each["status"]) for each in (pod.get("status") or {}).get("conditions") or ()}
    for pattern in patterns:
        if (pattern["type"], pattern.get("status", "True")) in held:
            return str(pattern["type"])
    return None
