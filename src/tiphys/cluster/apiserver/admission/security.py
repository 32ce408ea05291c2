"""PodSecurity: a namespace's labels say which standard its pods must keep, which is noted, and which is warned of.

    pod-security.kubernetes.io/{enforce,audit,warn}[-version]: privileged | baseline | restricted; latest | v1.N

Pods are refused by ``enforce``; what makes pods (Deployments, Jobs …) is only warned about and noted, so that it is
told before the pods fail. A namespace whose ``enforce`` becomes stricter is told which of its pods break it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tiphys.cluster.apiserver.admission.chain import Attributes
from tiphys.cluster.apiserver.admission.pods import refuse
from tiphys.cluster.apiserver.admission.standards import LATEST, LEVELS, Violation, violations
from tiphys.cluster.apiserver.problems import Complaint, invalid_object, invalid_value
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.store import Store

PREFIX: Final = "pod-security.kubernetes.io/"
PODS_MAX: Final = 3000
_TEMPLATES: Final = {
    "podtemplates": ("template",),
    "replicationcontrollers": ("spec", "template"),
    "replicasets.apps": ("spec", "template"),
    "deployments.apps": ("spec", "template"),
    "statefulsets.apps": ("spec", "template"),
    "daemonsets.apps": ("spec", "template"),
    "jobs.batch": ("spec", "template"),
    "cronjobs.batch": ("spec", "jobTemplate", "spec", "template"),
}
_VERSION: Final = re.compile(r"v1\.(0|[1-9][0-9]*)")


@dataclass(frozen=True)
class Standard:
    """A level at a minor version."""

    level: str = "privileged"
    version: int = LATEST

    def __str__(self) -> str:
        return f"{self.level}:{'latest' if self.version == LATEST else f'v1.{self.version}'}"

    def violations(self, pod: Mapping[str, Any]) -> list[Violation]:
        if self.level == "privileged":
            return []
        return violations(self.level, self.version, pod.get("metadata") or {}, pod.get("spec") or {})


@dataclass(frozen=True)
class Policy:
    enforce: Standard
    audit: Standard
    warn: Standard
    complaints: tuple[Complaint, ...] = ()


def policy_of(labels: Mapping[str, str]) -> Policy:
    """What a namespace's labels say. A level that cannot be read is the strictest where it refuses, else none."""
    complaints: list[Complaint] = []

    def read(mode: str, otherwise: str) -> Standard:
        level, version = labels.get(PREFIX + mode, "privileged"), labels.get(f"{PREFIX}{mode}-version", "latest")
        if level not in LEVELS:
            text = f"must be one of {', '.join(LEVELS)}"
            complaints.append(invalid_value(f"metadata.labels[{PREFIX}{mode}]", level, text))
            level = otherwise
        found = _VERSION.fullmatch(version)
        if found is None and version != "latest":
            text = 'must be "latest" or "v1.x"'
            complaints.append(invalid_value(f"metadata.labels[{PREFIX}{mode}-version]", version, text))
        return Standard(level, int(found[1]) if found is not None else LATEST)

    enforce, audit, warn = read("enforce", "restricted"), read("audit", "privileged"), read("warn", "privileged")
    if PREFIX + "warn" not in labels and LEVELS.index(enforce.level) > LEVELS.index(warn.level):
        warn = Standard(enforce.level, warn.version if f"{PREFIX}warn-version" in labels else enforce.version)
    return Policy(enforce, audit, warn, tuple(complaints))


class SecurityStep:
    """A validating step over the namespaces of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def check(self, request: Attributes) -> None:
        """Raises Forbidden for a pod, Invalid for a namespace's labels; adds warnings and audit annotations."""
        if request.obj is None or request.operation not in ("CREATE", "UPDATE"):
            return
        collection = request.info.collection
        if collection == "pods":
            if request.subresource in ("", "ephemeralcontainers", "resize") and _matters(request.obj, request.old):
                self._judge(request, request.obj, enforced=True)
        elif collection == "namespaces":
            if not request.subresource:
                self._judge_namespace(request)
        elif collection in _TEMPLATES and not request.subresource:
            template: Any = request.obj
            for step in _TEMPLATES[collection]:
                template = (template or {}).get(step)
            if template:
                self._judge(request, template, enforced=False)

    def _judge(self, request: Attributes, pod: Mapping[str, Any], *, enforced: bool) -> None:
        record = self._store.latest("namespaces", request.namespace)
        labels = (self._store.view(record)["metadata"].get("labels") or {}) if record is not None else {}
        if not any(key.startswith(PREFIX) for key in labels):
            return
        policy = policy_of(labels)
        broken = policy.audit.violations(pod)
        if broken:
            text = f'would violate PodSecurity "{policy.audit}": {_shown(broken)}'
            request.audit[f"{PREFIX}audit-violations"] = text
        if enforced:
            request.audit[f"{PREFIX}enforce-policy"] = str(policy.enforce)
            broken = policy.enforce.violations(pod)
            if broken:
                raise refuse(request, f'violates PodSecurity "{policy.enforce}": {_shown(broken)}')
        broken = policy.warn.violations(pod)
        if broken:
            request.warnings.append(f'would violate PodSecurity "{policy.warn}": {_shown(broken)}')

    def _judge_namespace(self, request: Attributes) -> None:
        policy, before = policy_of(_labels(request.obj)), policy_of(_labels(request.old))
        if policy.complaints and (request.operation == "CREATE" or policy.complaints != before.complaints):
            raise invalid_object(request.info, request.name, policy.complaints)
        if request.operation == "CREATE" or policy.enforce == before.enforce or policy.enforce.level == "privileged":
            return
        is_laxer = LEVELS.index(policy.enforce.level) <= LEVELS.index(before.enforce.level)
        if policy.enforce.version != before.enforce.version or not is_laxer:
            request.warnings.extend(self._told(request.name, policy.enforce))

    def _told(self, namespace: str, standard: Standard) -> Iterator[str]:
        """Which pods of the namespace break the standard, those with the same fault together."""
        pods = [self._store.view(record) for record in self._store.latest_in("pods", namespace)]
        faults: dict[str, list[str]] = {}
        for pod in pods[:PODS_MAX]:
            broken = standard.violations(pod)
            if broken:
                faults.setdefault(", ".join(each.reason for each in broken), []).append(pod["metadata"]["name"])
        if len(pods) > PODS_MAX:
            yield (
                f"new PodSecurity enforce level only checked against the first {PODS_MAX} of {len(pods)} existing pods"
            )
        if faults:
            yield f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{standard}"'
        yield from sorted(f"{_first(names)}: {reason}" for reason, names in faults.items())


def _first(names: list[str]) -> str:
    others = len(names) - 1
    more = f" (and {others} other pod{'s' if others > 1 else ''})" if others else ""
    return min(names) + more


def _shown(broken: list[Violation]) -> str:
    return ", ".join(str(each) for each in broken)


def _labels(namespace: Object | None) -> Mapping[str, str]:
    return ((namespace or {}).get("metadata") or {}).get("labels") or {}


def _matters(pod: Object, old: Object | None) -> bool:
    """A changed pod is judged again where its containers or their images are others."""
    return old is None or _images(pod) != _images(old)


def _images(pod: Object) -> list[tuple[str, Any, Any]]:
    spec = pod.get("spec") or {}
    kinds = ("initContainers", "containers", "ephemeralContainers")
    return [(kind, c.get("name"), c.get("image")) for kind in kinds for c in spec.get(kind) or ()]
