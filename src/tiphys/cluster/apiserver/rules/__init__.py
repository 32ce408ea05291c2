"""What each built-in kind demands of its objects, beyond types and metadata: a rule per kind, texts as the original's.

A rule yields complaints about an object's content; it gets the old object too, where there is one. Kinds that are not
in ``RULES`` are taken as they come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from tiphys.cluster.apiserver.problems import Complaint
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules import claims, configuration, crds, jobs, pods, workloads
from tiphys.machinery.equality import same

Rule = Callable[[Object, Object | None], Iterator[Complaint]]

RULES: Final[dict[str, Rule]] = {
    "pods": pods.pod,
    "configmaps": configuration.config_map,
    "secrets": configuration.secret,
    "persistentvolumeclaims": claims.claim,
    "jobs.batch": jobs.job,
    "cronjobs.batch": jobs.cron_job,
    "deployments.apps": workloads.deployment,
    "statefulsets.apps": workloads.stateful_set,
    "daemonsets.apps": workloads.workload,
    "replicasets.apps": workloads.workload,
    "customresourcedefinitions.apiextensions.k8s.io": crds.definition,
}
_CONTENT: Final = ("spec", "data", "binaryData", "type", "immutable")


def complaints(key: str, obj: Object, old: Object | None) -> Iterator[Complaint]:
    """What is wrong with the content of an object of the kind ``plural.group``; nothing where it has not changed."""
    rule = RULES.get(key)
    if rule is not None and (old is None or any(_differs(obj.get(field), old.get(field)) for field in _CONTENT)):
        yield from rule(obj, old)


def _differs(new: Any, old: Any) -> bool:
    return new is not old and not same(new, old)
