"""Flux: everything counts how many of its conditions speak for it."""

from __future__ import annotations

from collections.abc import Callable

from tiphys.cd.plan.health.builtin import Check
from tiphys.cd.plan.health.others.parts import (
    Condition,
    degraded,
    healthy,
    kind,
    progressing,
    reason,
    spec_of,
    status_of,
    suspended,
)
from tiphys.cd.plan.health.reading import conditions as conditions_of
from tiphys.cd.plan.health.verdict import Health
from tiphys.cd.plan.objects import Object

Test = Callable[[Condition], bool]


def _is(type_: str, status: str = "True", *reasons: str) -> Test:
    def test(condition: Condition) -> bool:
        fits = condition.get("type") == type_ and condition.get("status") == status
        return fits and (not reasons or condition.get("reason") in reasons)

    return test


def _counting(
    good: tuple[Test, ...],
    busy: tuple[Test, ...],
    enough: int,
    can_suspend: bool = True,
    when_busy: str = "Progressing",
) -> Check:
    """Healthy with ``enough`` good conditions, busy with two busy ones, else degraded; the reason of Ready says why."""

    def check(obj: Object) -> Health:
        if can_suspend and spec_of(obj).get("suspend") is True:
            return suspended(f"{kind(obj)} is suspended")
        if status_of(obj).get("conditions") is None:
            return progressing("Status unknown")
        found = conditions_of(status_of(obj))
        text = _text(found)
        if sum(any(test(one) for test in busy) for one in found) == 2:
            return progressing(text) if when_busy == "Progressing" else degraded(text)
        return healthy(text) if sum(any(test(one) for test in good) for one in found) == enough else degraded(text)

    return check


def _text(found: object) -> str:
    text = ""
    for condition in found if isinstance(found, list | tuple) else ():
        if condition.get("type") == "Ready":
            text = reason(condition)
        elif condition.get("type") == "ArtifactOutdated" and condition.get("status") == "True":
            text += f" {reason(condition)}"
    return text


_READY, _UNSURE, _RECONCILING = _is("Ready"), _is("Ready", "Unknown"), _is("Reconciling")
_SOURCE = _counting((_READY, _is("ArtifactInStorage")), (_UNSURE, _RECONCILING), 2)


def helm_repository_health(obj: Object) -> Health:
    if spec_of(obj).get("suspend") is not True and spec_of(obj).get("type") == "oci":
        return healthy("Helm repositories of type 'oci' do not contain any information in the status.")
    return _SOURCE(obj) or progressing()


CHECKS = {
    ("helm.toolkit.fluxcd.io", "HelmRelease"): _counting(
        (_READY, _is("Released"), _is("TestSuccess")), (_UNSURE, _RECONCILING), 2
    ),
    ("image.toolkit.fluxcd.io", "ImagePolicy"): _counting(
        (_READY,),
        (
            _is("Ready", "False"),
            _is("Reconciling", "True", "NewGeneration", "AccessingRepository", "ApplyingPolicy"),
        ),
        1,
        can_suspend=False,
    ),
    ("image.toolkit.fluxcd.io", "ImageRepository"): _counting(
        (_READY,), (_is("Ready", "False"), _is("Reconciling", "True", "NewGeneration", "Scanning")), 1
    ),
    ("image.toolkit.fluxcd.io", "ImageUpdateAutomation"): _counting((_READY,), (_UNSURE, _RECONCILING), 1),
    ("kustomize.toolkit.fluxcd.io", "Kustomization"): _counting((_READY,), (_UNSURE, _RECONCILING), 1),
    ("notification.toolkit.fluxcd.io", "Receiver"): _counting(
        (_READY,), (_is("Ready", "False"), _RECONCILING), 1, when_busy="Degraded"
    ),
    **{
        ("source.toolkit.fluxcd.io", name): _SOURCE
        for name in ("Bucket", "GitRepository", "HelmChart", "OCIRepository")
    },
    ("source.toolkit.fluxcd.io", "HelmRepository"): helm_repository_health,
}
