"""What a real API server's default admission adds to new pods: account and its token, tolerations, priority.

Not part of every server: our own pods need none of it, and a node that mounts no tokens cannot serve it. ``app``
appends it to the verbs' ``admission`` where a cluster shall look like a real one.
"""

from __future__ import annotations

from typing import Any, Final

from tiphys.cluster.apiserver.problems import forbidden
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.cluster.apiserver.store import Store
from tiphys.runtime.ids import Ids

TOKEN_SECONDS: Final = 3607
TOKEN_FOLDER: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_EVICTION_SECONDS: Final = 300
_UNREACHABLE: Final = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_SYSTEM_PRIORITIES: Final = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


class PodAdmission:
    """An ``Admit`` of the verbs: ServiceAccount, DefaultTolerationSeconds and Priority, for new pods."""

    def __init__(self, store: Store, ids: Ids) -> None:
        self._store = store
        self._ids = ids

    def __call__(self, info: ResourceInfo, obj: Object, old: Object | None) -> None:
        if info.collection != "pods" or old is not None:
            return
        spec = dict(obj.get("spec") or {})
        self._account(info, obj, spec)
        self._priority(info, obj, spec)
        _tolerations(spec)
        obj["spec"] = spec

    def _account(self, info: ResourceInfo, obj: Object, spec: Object) -> None:
        meta = obj["metadata"]
        if "kubernetes.io/config.mirror" in (meta.get("annotations") or {}):
            return
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        record = self._store.latest("serviceaccounts", f"{meta['namespace']}/{name}")
        if record is None:
            account = f'serviceaccount "{name}" not found'
            why = f"error looking up service account {meta['namespace']}/{name}: {account}"
            raise forbidden(info, meta.get("name", ""), why)
        account_view = self._store.view(record)
        if not spec.get("imagePullSecrets") and account_view.get("imagePullSecrets"):
            spec["imagePullSecrets"] = account_view["imagePullSecrets"]
        mounts = spec.get("automountServiceAccountToken")
        if mounts is None:
            mounts = account_view.get("automountServiceAccountToken")
        if mounts is None or mounts:
            self._mount_token(spec)

    def _mount_token(self, spec: Object) -> None:
        """A projected volume with token, CA and namespace, mounted where nothing else is."""
        name = f"kube-api-access-{self._ids.suffix()}"
        mount = {"name": name, "readOnly": True, "mountPath": TOKEN_FOLDER}
        used = False
        for kind in ("initContainers", "containers"):
            containers = spec.get(kind)
            if not containers:
                continue
            mounted = [_with_mount(container, mount) for container in containers]
            used = used or mounted != containers
            spec[kind] = mounted
        if used:
            spec["volumes"] = [*(spec.get("volumes") or ()), _token_volume(name)]

    def _priority(self, info: ResourceInfo, obj: Object, spec: Object) -> None:
        asked = spec.get("priority")
        value, policy = self._class_of(info, obj, spec)
        if asked is not None and asked != value:
            text = f"the integer value of priority ({asked}) must not be provided in pod spec; priority admission"
            why = f"{text} controller computed {value} from the given PriorityClass name"
            raise forbidden(info, obj["metadata"].get("name", ""), why)
        spec["priority"] = value
        spec.setdefault("preemptionPolicy", policy)

    def _class_of(self, info: ResourceInfo, obj: Object, spec: Object) -> tuple[int, str]:
        """The value and the preemption policy of the pod's priority class, of the default one where it names none."""
        name = spec.get("priorityClassName")
        classes = self._store.collection("priorityclasses.scheduling.k8s.io").records
        if name in _SYSTEM_PRIORITIES and name not in classes:
            return _SYSTEM_PRIORITIES[str(name)], "PreemptLowerPriority"
        if name:
            record = classes.get(str(name))
            if record is None:
                raise forbidden(info, obj["metadata"].get("name", ""), f"no PriorityClass with name {name} was found")
            found = self._store.view(record)
        else:
            defaults = [self._store.view(r) for r in classes.values() if self._store.view(r).get("globalDefault")]
            if not defaults:
                return 0, "PreemptLowerPriority"
            found = min(defaults, key=lambda each: int(each.get("value") or 0))
            spec["priorityClassName"] = found["metadata"]["name"]
        return int(found.get("value") or 0), str(found.get("preemptionPolicy") or "PreemptLowerPriority")


def _with_mount(container: Object, mount: Object) -> Object:
    mounts = container.get("volumeMounts") or []
    if any(held.get("mountPath") == TOKEN_FOLDER for held in mounts):
        return container
    return container | {"volumeMounts": [*mounts, mount]}


def _token_volume(name: str) -> dict[str, Any]:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {"name": name, "projected": {"sources": sources, "defaultMode": 420}}


def _tolerations(spec: Object) -> None:
    """Five minutes on a node that is not ready or not reachable, unless the pod says otherwise."""
    held = list(spec.get("tolerations") or ())
    for key in _UNREACHABLE:
        if not any(_tolerates(toleration, key) for toleration in held):
            held.append(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _EVICTION_SECONDS}
            )
    spec["tolerations"] = held


def _tolerates(toleration: Object, key: str) -> bool:
    return toleration.get("key") in (key, None, "") and toleration.get("effect") in ("NoExecute", None, "")
