"""The annotations that steer CD on a single object: options, hook types, hook delete policies, waves.

Options are comma lists; Helm's annotations are read where Argo's own do not decide. An object that is a hook of no
known type is *ignorable*: neither applied nor pruned.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from tiphys.cd.plan.objects import Object, annotations_of, finalizers_of

SyncPhase = Literal["PreSync", "Sync", "PostSync", "SyncFail"]

SYNC_OPTIONS: Final = "argocd.argoproj.io/sync-options"
COMPARE_OPTIONS: Final = "argocd.argoproj.io/compare-options"
SYNC_WAVE: Final = "argocd.argoproj.io/sync-wave"
HOOK: Final = "argocd.argoproj.io/hook"
HOOK_DELETE_POLICY: Final = "argocd.argoproj.io/hook-delete-policy"
HOOK_FINALIZER: Final = "argocd.argoproj.io/hook-finalizer"
DELETION_APPROVED: Final = "argocd.argoproj.io/deletion-approved"
IGNORE_RESTART_POLICY: Final = "argocd.argoproj.io/ignore-restart-policy"
IGNORE_HEALTH_CHECK: Final = "argocd.argoproj.io/ignore-healthcheck"
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
HELM_HOOK: Final = "helm.sh/hook"
HELM_HOOK_WEIGHT: Final = "helm.sh/hook-weight"
HELM_HOOK_DELETE_POLICY: Final = "helm.sh/hook-delete-policy"
HELM_RESOURCE_POLICY: Final = "helm.sh/resource-policy"

SYNC_PHASES: Final[tuple[SyncPhase, ...]] = ("PreSync", "Sync", "PostSync", "SyncFail")
_HOOK_TYPES: Final = frozenset((*SYNC_PHASES, "Skip"))
_HELM_HOOK_TYPES: Final = {
    "pre-install": "PreSync",
    "pre-upgrade": "PreSync",
    "post-upgrade": "PostSync",
    "post-install": "PostSync",
}
_DELETE_POLICIES: Final = frozenset(("HookSucceeded", "HookFailed", "BeforeHookCreation"))
_HELM_DELETE_POLICIES: Final = {
    "before-hook-creation": "BeforeHookCreation",
    "hook-succeeded": "HookSucceeded",
    "hook-failed": "HookFailed",
}
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")


def comma_list(obj: Object, annotation: str) -> list[str]:
    """The trimmed items of an annotation, each once, in order."""
    text = annotations_of(obj).get(annotation)
    if not text:
        return []
    items = (item.strip() for item in text.split(","))
    return list(dict.fromkeys(item for item in items if item))


def has_option(obj: Object | None, option: str, annotation: str = SYNC_OPTIONS) -> bool:
    """Whether the object's options name ``option`` (``Replace=true``) literally."""
    return obj is not None and option in comma_list(obj, annotation)


def option_value(obj: Object, option: str, annotation: str = SYNC_OPTIONS) -> str | None:
    """The value of the first ``option=value`` of the object's options."""
    prefix = option + "="
    return next((item[len(prefix) :] for item in comma_list(obj, annotation) if item.startswith(prefix)), None)


def is_hook(obj: Object) -> bool:
    annotations = annotations_of(obj)
    if HOOK in annotations:
        return not is_skipped(obj)
    # Helm marks definitions as hooks too, but they are ordinary objects.
    return annotations.get(HELM_HOOK, "crd-install") != "crd-install"


def is_skipped(obj: Object) -> bool:
    return hook_types(obj) == ["Skip"]


def is_ignorable(obj: Object) -> bool:
    return is_hook(obj) and not hook_types(obj)


def hook_types(obj: Object) -> list[str]:
    """The known types of a hook; Helm's only where Argo's annotation names none."""
    found = [item for item in comma_list(obj, HOOK) if item in _HOOK_TYPES]
    return found or [_HELM_HOOK_TYPES[item] for item in comma_list(obj, HELM_HOOK) if item in _HELM_HOOK_TYPES]


def phases_of(obj: Object) -> list[SyncPhase]:
    """The phases in which a sync applies the object: a hook's own, else Sync; none where it is to be skipped."""
    if is_skipped(obj):
        return []
    if not is_hook(obj):
        return ["Sync"]
    types = hook_types(obj)
    return [phase for phase in SYNC_PHASES if phase in types]


def delete_policies(obj: Object) -> list[str]:
    found = [item for item in comma_list(obj, HOOK_DELETE_POLICY) if item in _DELETE_POLICIES]
    helm = [item for item in comma_list(obj, HELM_HOOK_DELETE_POLICY) if item in _HELM_DELETE_POLICIES]
    return [*found, *(_HELM_DELETE_POLICIES[item] for item in helm)] or ["BeforeHookCreation"]


def has_hook_finalizer(obj: Object) -> bool:
    return HOOK_FINALIZER in finalizers_of(obj)


def wave_of(obj: Object) -> int:
    """The sync wave; Helm's weight where the annotation is absent or no integer, else 0."""
    annotations = annotations_of(obj)
    for name in (SYNC_WAVE, HELM_HOOK_WEIGHT):
        text = annotations.get(name)
        if text and _INTEGER.fullmatch(text) and -(1 << 63) <= int(text[:25]) < 1 << 63:
            return int(text)
    return 0
