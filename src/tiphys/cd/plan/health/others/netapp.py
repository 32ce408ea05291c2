"""NetApp: Astra (vaults, backups, protected applications)."""

from __future__ import annotations

from tiphys.cd.plan.health.others.parts import (
    degraded,
    healthy,
    kind,
    progressing,
    said,
    spec_of,
    status_of,
    suspended,
)
from tiphys.cd.plan.health.reading import condition
from tiphys.cd.plan.health.verdict import Health
from tiphys.cd.plan.objects import Object

_NOTHING = progressing("No status available")


def vault_health(obj: Object) -> Health:
    state = str(status_of(obj).get("state"))
    if state in ("available", "Available"):
        return healthy(f"{kind(obj)} Available")
    return degraded(f"{kind(obj)} Failed") if state in ("failed", "Failed") else _NOTHING


def application_health(obj: Object) -> Health:
    found = condition(status_of(obj), "Ready") or {}
    if found.get("status") == "True":
        return healthy(f"Astra Application Ready, protectionState: {status_of(obj).get('protectionState', '')}")
    if found.get("status") == "False":
        return degraded(f"Astra Application Degraded, message: {said(found)}")
    return _NOTHING


def backup_health(obj: Object) -> Health:
    state = status_of(obj).get("state")
    if state is None:
        return _NOTHING
    if state in ("Completed", "Running"):
        return (healthy if state == "Completed" else progressing)(f"{kind(obj)} {state}")
    return degraded(state)


def hook_health(obj: Object) -> Health:
    enabled = spec_of(obj).get("enabled")
    if enabled is True:
        return healthy(f"{kind(obj)} enabled")
    return suspended(f"{kind(obj)} disabled") if enabled is False else _NOTHING


def schedule_health(obj: Object) -> Health:
    last = status_of(obj).get("lastScheduleTime")
    text = "Protection policy not yet executed" if last is None else f"Protection policy lastScheduleTime: {last}"
    return healthy(text)


CHECKS = {
    ("astra.netapp.io", "AppVault"): vault_health,
    ("astra.netapp.io", "Application"): application_health,
    ("astra.netapp.io", "ExecHook"): hook_health,
    ("astra.netapp.io", "Schedule"): schedule_health,
    **{
        ("astra.netapp.io", name): backup_health
        for name in ("Backup", "ExecHooksRun", "ResourceBackup", "ResticVolumeBackup", "Snapshot")
    },
}
