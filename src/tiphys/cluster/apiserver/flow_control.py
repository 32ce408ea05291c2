"""FlowSchemas and PriorityLevelConfigurations: those that every cluster begins with, and what a schema's status says.

They are kept and shown as a real server's are, for tools that look at them. Which request is served when is decided
by ``http/fairness.py``, which gives every user the same share and does not read them.
Source: pkg/apis/flowcontrol/bootstrap of k8s.io/apiserver 0.35.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tiphys.cluster.apiserver.record import Object
from tiphys.machinery.resources import Resource

_GROUP: Final = "flowcontrol.apiserver.k8s.io"
FLOW_SCHEMAS: Final = Resource(_GROUP, "v1", "flowschemas", "FlowSchema", namespaced=False)
PRIORITY_LEVELS: Final = Resource(
    _GROUP, "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration", namespaced=False
)
PRODUCER: Final = "api-priority-and-fairness-config-producer-v1"
CONSUMER: Final = "api-priority-and-fairness-config-consumer-v1"
_ANNOTATIONS: Final = {"apf.kubernetes.io/autoupdate-spec": "true"}

# Shares, the percentage that others may borrow, queues and hand size.
_LIMITED: Final = {
    "system": (30, 33, 64, 6),
    "node-high": (40, 25, 64, 6),
    "leader-election": (10, 0, 16, 4),
    "workload-high": (40, 50, 128, 6),
    "workload-low": (100, 90, 128, 6),
    "global-default": (20, 50, 128, 6),
}
_QUEUE_LENGTH: Final = 50

_EVERYBODY: Final = ("system:unauthenticated", "system:authenticated")
_NODES: Final = "system:nodes"
_MANAGER, _SCHEDULER = "system:kube-controller-manager", "system:kube-scheduler"


def priority_levels() -> Iterator[Object]:
    for name, (shares, lendable, queues, hand) in _LIMITED.items():
        queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": _QUEUE_LENGTH}
        yield _limited(name, shares, lendable, {"type": "Queue", "queuing": queuing})
    nothing = {"nominalConcurrencyShares": 0, "lendablePercent": 0}
    yield {"metadata": _metadata("exempt"), "spec": {"type": "Exempt", "exempt": nothing}}
    yield _limited("catch-all", 5, 0, {"type": "Reject"})


def flow_schemas() -> Iterator[Object]:
    leases = _resources("leases", group="coordination.k8s.io", verbs=("get", "create", "update"))
    its_leases = _resources("leases", group="coordination.k8s.io")
    itself = _resources("nodes", "nodes/status", group="", of_cluster=True)
    system_accounts = {"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}}
    accounts = _groups("system:serviceaccounts")
    yield _schema("system-nodes", "system", 500, "ByUser", _everything(_groups(_NODES)))
    yield _schema(
        "system-node-high", "node-high", 400, "ByUser", _rules(_groups(_NODES), resources=[itself, its_leases])
    )
    probes = {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}
    yield _schema("probes", "exempt", 2, "", _rules(_groups(*_EVERYBODY), others=[probes]))
    electors = [*_users(_MANAGER, _SCHEDULER), system_accounts]
    yield _schema("system-leader-election", "leader-election", 100, "ByUser", _rules(electors, resources=[leases]))
    yield _schema("kube-controller-manager", "workload-high", 800, "ByNamespace", _everything(_users(_MANAGER)))
    yield _schema("kube-scheduler", "workload-high", 800, "ByNamespace", _everything(_users(_SCHEDULER)))
    yield _schema("kube-system-service-accounts", "workload-high", 900, "ByNamespace", _everything([system_accounts]))
    yield _schema("service-accounts", "workload-low", 9000, "ByUser", _everything(accounts))
    yield _schema("global-default", "global-default", 9900, "ByUser", _everything(_groups(*_EVERYBODY)))
    yield _schema("exempt", "exempt", 1, "", _everything(_groups("system:masters")))
    yield _schema("catch-all", "catch-all", 10_000, "ByUser", _everything(_groups(*_EVERYBODY)))


def dangling(schema: Object, *, exists: bool, now: str) -> Object | None:
    """The condition that says whether a schema's priority level is there; None where it says so already."""
    level = schema["spec"]["priorityLevelConfiguration"]["name"]
    text = f'This FlowSchema references the PriorityLevelConfiguration object named "{level}" and it exists'
    if not exists:
        text = f"{text.removesuffix('and it exists')}but there is no such object"
    wanted = {
        "type": "Dangling",
        "status": "False" if exists else "True",
        "reason": "Found" if exists else "NotFound",
        "message": text,
    }
    for condition in (schema.get("status") or {}).get("conditions") or ():
        if wanted.items() <= condition.items():
            return None
    return wanted | {"lastTransitionTime": now}


def _limited(name: str, shares: int, lendable: int, response: Mapping[str, Any]) -> Object:
    limited = {"nominalConcurrencyShares": shares, "limitResponse": response, "lendablePercent": lendable}
    return {"metadata": _metadata(name), "spec": {"type": "Limited", "limited": limited}}


def _schema(name: str, level: str, precedence: int, distinguisher: str, rules: Mapping[str, Any]) -> Object:
    spec = {
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "distinguisherMethod": {"type": distinguisher},
        "rules": [rules],
    }
    if not distinguisher:
        del spec["distinguisherMethod"]
    return {"metadata": _metadata(name), "spec": spec}


def _metadata(name: str) -> dict[str, Any]:
    return {"name": name, "annotations": dict(_ANNOTATIONS)}


def _groups(*names: str) -> list[Object]:
    return [{"kind": "Group", "group": {"name": name}} for name in names]


def _users(*names: str) -> list[Object]:
    return [{"kind": "User", "user": {"name": name}} for name in names]


def _everything(subjects: list[Object]) -> Mapping[str, Any]:
    others = [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
    return _rules(subjects, [_resources("*", group="*", of_cluster=True)], others)


def _rules(
    subjects: list[Object], resources: list[Object] | None = None, others: list[Object] | None = None
) -> Mapping[str, Any]:
    found: dict[str, Any] = {"subjects": subjects}
    if resources:
        found["resourceRules"] = resources
    if others:
        found["nonResourceRules"] = others
    return found


def _resources(*plurals: str, group: str, verbs: tuple[str, ...] = ("*",), of_cluster: bool = False) -> Object:
    found: Object = {"verbs": list(verbs), "apiGroups": [group], "resources": list(plurals)}
    if of_cluster:
        found["clusterScope"] = True
    return found | {"namespaces": ["*"]}
