"""LimitRange: default requests and limits of containers, and the bounds of containers, pods and claims.

Messages are the original's (plugin/pkg/admission/limitranger): all violations of one LimitRange at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tiphys.cluster.apiserver.admission import amounts
from tiphys.cluster.apiserver.admission.amounts import Amounts
from tiphys.cluster.apiserver.admission.chain import Attributes
from tiphys.cluster.apiserver.admission.pods import refuse
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.store import Store
from tiphys.machinery.quantities import Quantity

_ANNOTATION: Final = "kubernetes.io/limit-ranger"


class LimitSteps:
    """Steps over the LimitRanges in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def defaults(self, request: Attributes) -> None:
        """What a container leaves out is what its namespace's ranges say."""
        if request.info.collection != "pods" or request.operation != "CREATE" or request.subresource:
            return
        for limits in self._ranges(request.namespace):
            _complete(request, limits["spec"].get("limits") or ())

    def check(self, request: Attributes) -> None:
        """Raises Forbidden."""
        if not _is_judged(request):
            return
        for limits in self._ranges(request.namespace):
            faults = list(_faults(request, limits["spec"].get("limits") or ()))
            if faults:
                unique = list(dict.fromkeys(faults))
                raise refuse(request, unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]")

    def _ranges(self, namespace: str) -> Iterator[Object]:
        records = self._store.collection("limitranges").records
        if records:
            prefix = f"{namespace}/"
            for key in sorted(key for key in records if key.startswith(prefix)):
                yield self._store.view(records[key])


def _is_judged(request: Attributes) -> bool:
    if (request.old or {}).get("metadata", {}).get("deletionTimestamp"):
        return False
    if request.info.collection == "pods":
        return request.subresource == "resize" or (request.operation == "CREATE" and not request.subresource)
    judged = request.info.collection == "persistentvolumeclaims" and not request.subresource
    return judged and request.operation in ("CREATE", "UPDATE")


def _complete(request: Attributes, limits: Any) -> None:
    requests = {k: v for one in limits if one["type"] == "Container" for k, v in _of(one, "defaultRequest")}
    most = {k: v for one in limits if one["type"] == "Container" for k, v in _of(one, "default")}
    if not requests and not most:
        return
    spec, told = request.spec, []
    for kind, word in (("containers", "container"), ("initContainers", "init container")):
        if spec.get(kind):
            made = [_completed(container, requests, most) for container in spec[kind]]
            told += [text for _, said in made for text in said(word)]
            spec[kind] = [container for container, _ in made]
    if told and request.obj is not None:
        meta = dict(request.obj["metadata"])
        meta["annotations"] = {
            **(meta.get("annotations") or {}),
            _ANNOTATION: f"LimitRanger plugin set: {'; '.join(told)}",
        }
        request.obj["metadata"] = meta


def _of(limit: Mapping[str, Any], key: str) -> Any:
    return (limit.get(key) or {}).items()


def _completed(container: Object, requests: Mapping[str, Any], most: Mapping[str, Any]) -> Any:
    """The container with defaults, and a function that tells which, given what to call it."""
    resources = dict(container.get("resources") or {})
    added: dict[str, list[str]] = {}
    for which, values in (("requests", requests), ("limits", most)):
        held = dict(resources.get(which) or {})
        added[which] = sorted(values.keys() - held.keys())
        if added[which]:
            resources[which] = held | {name: values[name] for name in added[which]}
    name = container["name"]

    def told(word: str) -> list[str]:
        pairs = (("requests", "request"), ("limits", "limit"))
        return [f"{', '.join(added[which])} {one} for {word} {name}" for which, one in pairs if added[which]]

    return container | {"resources": resources}, told


def _faults(request: Attributes, limits: Any) -> Iterator[str]:
    spec = (request.obj or {}).get("spec") or {}
    for limit in limits:
        kind = limit["type"]
        if request.info.collection == "persistentvolumeclaims":
            if kind == "PersistentVolumeClaim":
                yield from _claim_faults(limit, amounts.of_container(spec, "requests"))
        elif kind == "Container":
            for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
                asked = amounts.of_container(container, "requests")
                yield from _bound_faults(limit, asked, amounts.of_container(container, "limits"))
        elif kind == "Pod":
            yield from _bound_faults(limit, amounts.of_pod(spec, "requests"), amounts.of_pod(spec, "limits"))


def _bound_faults(limit: Mapping[str, Any], requests: Amounts, limits: Amounts) -> Iterator[str]:
    kind = limit["type"]
    for name, least in sorted(amounts.parsed(limit.get("min")).items()):
        yield from _too_little(kind, name, least, requests.get(name), limits.get(name))
    for name, most in sorted(amounts.parsed(limit.get("max")).items()):
        yield from _too_much(kind, name, most, requests.get(name), limits.get(name))
    for name, ratio in sorted(amounts.parsed(limit.get("maxLimitRequestRatio")).items()):
        yield from _too_far_apart(kind, name, ratio, requests.get(name), limits.get(name))


def _too_little(kind: str, name: str, least: Quantity, asked: Quantity | None, limit: Quantity | None) -> Iterator[str]:
    text = f"minimum {name} usage per {kind} is {least}"
    if asked is None:
        yield f"{text}.  No request is specified"
    elif asked.compare(least) < 0:
        yield f"{text}, but request is {asked}"
    elif limit is not None and limit.compare(least) < 0:
        yield f"{text}, but limit is {limit}"


def _too_much(kind: str, name: str, most: Quantity, asked: Quantity | None, limit: Quantity | None) -> Iterator[str]:
    text = f"maximum {name} usage per {kind} is {most}"
    if limit is None:
        yield f"{text}.  No limit is specified"
    elif limit.compare(most) > 0:
        yield f"{text}, but limit is {limit}"
    elif asked is not None and asked.compare(most) > 0:
        yield f"{text}, but request is {asked}"


def _too_far_apart(
    kind: str, name: str, ratio: Quantity, asked: Quantity | None, limit: Quantity | None
) -> Iterator[str]:
    text = f"{name} max limit to request ratio per {kind} is {ratio}"
    if asked is None or not asked.sign:
        yield f"{text}, but no request is specified or request is 0"
    elif limit is None or not limit.sign:
        yield f"{text}, but no limit is specified or limit is 0"
    elif float(limit) / float(asked) > float(ratio):
        yield f"{text}, but provided ratio is {float(limit) / float(asked):f}"


def _claim_faults(limit: Mapping[str, Any], requests: Amounts) -> Iterator[str]:
    kind = limit["type"]
    for name, least in sorted(amounts.parsed(limit.get("min")).items()):
        yield from _too_little(kind, name, least, requests.get(name), None)
    for name, most in sorted(amounts.parsed(limit.get("max")).items()):
        asked = requests.get(name)
        text = f"maximum {name} usage per {kind} is {most}"
        if asked is None:
            yield f"{text}.  No request is specified"
        elif asked.compare(most) > 0:
            yield f"{text}, but request is {asked}"
