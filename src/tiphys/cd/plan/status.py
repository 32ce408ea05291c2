"""The status of an application: why it is looked at, what of it changes, conditions with their times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from tiphys.cd.plan.compare import Comparison, compared_to
from tiphys.cd.plan.objects import Object, annotations_of, gvk_of, images_of
from tiphys.cd.plan.operation import stamp, stamped
from tiphys.cd.plan.spec import has_multiple_sources, sources_of
from tiphys.cd.plan.validation import Condition
from tiphys.machinery.equality import same
from tiphys.machinery.patches import merge

REFRESH: Final = "argocd.argoproj.io/refresh"
SKIP_RECONCILE: Final = "argocd.argoproj.io/skip-reconcile"
COMPARED_CONDITIONS: Final = frozenset(
    ("ComparisonError", "SharedResourceWarning", "RepeatedResourceWarning", "ExcludedResourceWarning")
)
SPEC_CONDITIONS: Final = frozenset(("InvalidSpecError", "UnknownError"))
_TRUE: Final = frozenset(("1", "t", "T", "TRUE", "true", "True"))


@dataclass(frozen=True)
class Refresh:
    """``resolve`` looks up anew what branches mean; ``hard`` renders anew whatever is known; ``told``: what comes of
    it is said also if it might pass."""

    why: str
    resolve: bool = False
    hard: bool = False
    told: bool = False


def refresh_wanted(app: Mapping[str, Any], now: datetime, period: timedelta | None) -> Refresh | None:
    """Why the application is to be compared, as far as the object itself says; None for no reason."""
    spec, status = app.get("spec") or {}, app.get("status") or {}
    asked = annotations_of(app).get(REFRESH)
    if asked is not None:
        return Refresh(f"{asked} refresh requested", resolve=True, hard=asked == "hard", told=True)
    compared = (status.get("sync") or {}).get("comparedTo") or {}
    wanted = compared_to(spec, sources_of(spec))
    several = has_multiple_sources(spec)
    names = ("sources",) if several else ("source",)
    if any(not same(_plain(wanted.get(name)), _plain(compared.get(name))) for name in names):
        return Refresh("spec.source differs", resolve=True, told=True)
    at = status.get("reconciledAt")
    if not at:
        return Refresh("never compared", resolve=True, told=True)
    if period is not None and stamped(at) + period <= now:
        return Refresh("comparison expired", resolve=True)
    if not same(_plain(wanted["destination"]), _plain(compared.get("destination") or {})):
        return Refresh("spec.destination differs")
    if not same(wanted.get("ignoreDifferences") or [], compared.get("ignoreDifferences") or []):
        return Refresh("spec.ignoreDifferences differs")
    metadata = (spec.get("syncPolicy") or {}).get("managedNamespaceMetadata")
    result = (status.get("operationState") or {}).get("syncResult")
    if metadata is not None and result is not None and not same(metadata, result.get("managedNamespaceMetadata")):
        # It shows in the comparison; asking again changes nothing until it was synced.
        return (
            None if (status.get("sync") or {}).get("status") == "OutOfSync" else Refresh("namespace metadata differs")
        )
    return None


def is_skipped(app: Mapping[str, Any]) -> bool:
    return annotations_of(app).get(SKIP_RECONCILE) in _TRUE


def compared_status(
    app: Mapping[str, Any], comparison: Comparison, control_namespace: str, now: datetime
) -> dict[str, Any]:
    """The whole status after a comparison, as it would be written."""
    status = dict(app.get("status") or {})
    status["sync"] = comparison.sync
    status["health"] = _health(status.get("health") or {}, comparison.health.status, comparison.health.message, now)
    status["resources"] = _resources(comparison)
    status["resourceHealthSource"] = "appTree"
    status["controllerNamespace"] = control_namespace
    status["reconciledAt"] = stamp(now)
    if has_multiple_sources(app.get("spec") or {}):
        status["sourceTypes"] = list(comparison.types)
        status.pop("sourceType", None)
    elif comparison.types:
        status["sourceType"] = comparison.types[0]
    status["summary"] = summary(comparison)
    evaluated = COMPARED_CONDITIONS | SPEC_CONDITIONS
    status["conditions"] = with_conditions(status.get("conditions") or (), comparison.conditions, evaluated, now)
    return status


def invalid_status(
    app: Mapping[str, Any], problems: Sequence[Condition], control_namespace: str, now: datetime
) -> dict[str, Any]:
    """The status of an application that cannot be compared: nothing is known of it."""
    status = dict(app.get("status") or {})
    spec = app.get("spec") or {}
    status["sync"] = {"status": "Unknown", "comparedTo": compared_to(spec, sources_of(spec))}
    status["health"] = _health(status.get("health") or {}, "Unknown", "", now)
    status["controllerNamespace"] = control_namespace
    status["reconciledAt"] = stamp(now)
    status["conditions"] = with_conditions(status.get("conditions") or (), problems, SPEC_CONDITIONS, now)
    return status


def with_conditions(
    known: Sequence[Mapping[str, Any]], found: Iterable[Condition], evaluated: frozenset[str], now: datetime
) -> list[Mapping[str, Any]]:
    """The conditions of types that were not looked at, and those found; one that stays keeps its time."""
    kept = [each for each in known if each.get("type") not in evaluated]
    times = {(each.get("type"), each.get("message")): each.get("lastTransitionTime") for each in known}
    new = [
        {"type": each.type, "message": each.message, "lastTransitionTime": times.get(each) or stamp(now)}
        for each in dict.fromkeys(found)
    ]
    return sorted([*kept, *new], key=lambda each: (each["type"], each["message"]))


def patch_of(before: Mapping[str, Any], after: Mapping[str, Any], *, with_time: bool = False) -> dict[str, Any]:
    """The merge patch from one status to another; empty where only the time of the look would change, unless that is
    wanted ``with_time``."""
    cleaned = {name: value for name, value in after.items() if value not in (None, [], {})}
    patch = merge.create(before, cleaned)
    return {} if patch.keys() == {"reconciledAt"} and not with_time else patch


def summary(comparison: Comparison) -> dict[str, Any]:
    """The images that run, the addresses under which it is reached, whether it consists of applications."""
    live = [each.live for each in comparison.managed if each.live is not None]
    images = sorted({image for obj in live for image in images_of(obj) or ()})
    urls = sorted({url for obj in live for url in _urls(obj)})
    of_apps = any(gvk_of(obj)[::2] == ("argoproj.io", "Application") for obj in _all(comparison))
    parts = {"images": images, "externalURLs": urls, "isAppOfApps": of_apps}
    return {name: value for name, value in parts.items() if value}


def _all(comparison: Comparison) -> Iterable[Object]:
    for each in comparison.managed:
        obj = each.live if each.live is not None else each.target
        if obj is not None:
            yield obj


def _urls(obj: Object) -> list[str]:
    """External addresses of an ingress, by its rules and load balancer; and links that the object names itself."""
    links = [v for k, v in annotations_of(obj).items() if k.startswith("link.argocd.argoproj.io/")]
    if gvk_of(obj).kind != "Ingress":
        return links
    spec, balancer = obj.get("spec") or {}, ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    secure = {host for tls in spec.get("tls") or () for host in tls.get("hosts") or ()}
    for rule in spec.get("rules") or () if balancer else ():
        host = rule.get("host") or next((e.get("hostname") or e.get("ip") for e in balancer), None)
        scheme = "https" if host in secure or (spec.get("tls") and not secure) else "http"
        paths: list[Mapping[str, Any]] = (rule.get("http") or {}).get("paths") or [{}]
        for path in paths:
            where = str(path.get("path") or "").rstrip("*").rstrip("/")
            links += [f"{scheme}://{host}{where}{'/' if where else ''}"] if host else []
    return links


def _health(before: Mapping[str, Any], status: str, message: str, now: datetime) -> dict[str, Any]:
    if before.get("status") == status:
        # The message stays that of the change: it would else be written with every replica that comes.
        return dict(before)
    new = {"status": status, "lastTransitionTime": stamp(now)}
    return new | ({"message": message} if message else {})


def _resources(comparison: Comparison) -> list[Mapping[str, Any]]:
    shown = [{name: v for name, v in each.items() if name != "health"} for each in comparison.resources]
    keys = ("group", "kind", "namespace", "name")
    return sorted(shown, key=lambda each: tuple(str(each.get(name, "")) for name in keys))


def _plain(value: Any) -> Any:
    """Without empty fields, which Go does not tell from absent ones."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items() if each not in (None, "", [], {})}
    return [_plain(each) for each in value] if isinstance(value, list) else value
