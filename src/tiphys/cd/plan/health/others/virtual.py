"""Virtual machines: KubeVirt and its disks."""

from __future__ import annotations

from tiphys.cd.plan.health.builtin import Check
from tiphys.cd.plan.health.others.parts import (
    degraded,
    progressing,
    said,
    status_of,
    suspended,
    unknown,
)
from tiphys.cd.plan.health.reading import conditions as conditions_of
from tiphys.cd.plan.health.verdict import Health
from tiphys.cd.plan.objects import Object

_NOTHING = progressing("No status available")


def disk_health(obj: Object) -> Health:
    status, found = status_of(obj), _NOTHING
    phase = status.get("phase")
    match phase:
        case "Succeeded":
            return Health("Healthy", phase)
        case "Paused":
            return suspended(phase)
        case "Failed" | "Unknown":
            found = degraded(phase)
        case str():
            found = progressing(phase)
    for one in conditions_of(status):
        has_stopped = one.get("type") == "Running" and one.get("status") == "False"
        if has_stopped and one.get("reason") == "Error":
            return degraded(said(one))
    return found


def machine_health(obj: Object) -> Health:
    status, found = status_of(obj), _NOTHING
    for one in conditions_of(status):
        if one.get("type") == "Paused" and one.get("status") == "True":
            return suspended("Paused")
        if one.get("type") == "Ready":
            if one.get("status") == "True":
                found = Health("Healthy", "Running")
            else:
                found = Health(found.status, "Starting") if status.get("created") else suspended("Stopped")
    printed = status.get("printableStatus")
    return found if printed is None else Health(found.status, str(printed))


def instance_health(obj: Object) -> Health:
    status, found = status_of(obj), _NOTHING
    phase = status.get("phase")
    match phase:
        case "Failed":
            return degraded(phase)
        case "Pending" | "Scheduling" | "Scheduled":
            return progressing(phase)
        case "Succeeded":
            return suspended(phase)
        case "Unknown":
            return unknown(phase)
        case str():
            found = progressing(phase)
    for one in conditions_of(status):
        if one.get("type") == "Paused" and one.get("status") == "True":
            return suspended(said(one))
        if one.get("type") == "Ready":
            found = Health("Healthy", "Running") if one.get("status") == "True" else degraded(said(one))
    return found


CHECKS: dict[tuple[str, str], Check] = {
    ("cdi.kubevirt.io", "DataVolume"): disk_health,
    ("kubevirt.io", "VirtualMachine"): machine_health,
    ("kubevirt.io", "VirtualMachineInstance"): instance_health,
}
