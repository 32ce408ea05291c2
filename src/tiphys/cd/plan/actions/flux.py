"""Flux: everything can be suspended and resumed, most of it reconciled on request."""

from __future__ import annotations

from tiphys.cd.plan.actions.action import Action, annotate, lift, set_to
from tiphys.cd.plan.actions.workloads import is_suspended

_RECONCILE = Action(
    "reconcile",
    annotate("reconcile.fluxcd.io/requestedAt", lambda call: f"By Argo CD at: {call.now:%Y-%m-%dT%H:%M:%S}"),
    disabled=is_suspended,
)
_RESUME = Action("resume", lift("spec", "suspend"), disabled=lambda obj: not is_suspended(obj))
_SUSPEND = Action("suspend", set_to(True, "spec", "suspend"), disabled=is_suspended)
_RECONCILED = {
    "helm": ("HelmRelease",),
    "image": ("ImageRepository", "ImageUpdateAutomation"),
    "kustomize": ("Kustomization",),
    "notification": ("Receiver",),
    "source": ("Bucket", "GitRepository", "HelmChart", "HelmRepository", "OCIRepository"),
}

ACTIONS = {
    **{
        (f"{group}.toolkit.fluxcd.io", kind): (_RECONCILE, _RESUME, _SUSPEND)
        for group, kinds in _RECONCILED.items()
        for kind in kinds
    },
    ("notification.toolkit.fluxcd.io", "Alert"): (_RESUME, _SUSPEND),
    ("notification.toolkit.fluxcd.io", "Provider"): (_RESUME, _SUSPEND),
}
