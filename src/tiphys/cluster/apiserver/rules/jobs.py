"""Jobs and CronJobs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tiphys.api import internal_names
from tiphys.cluster.apiserver.problems import Complaint, invalid_value, required, unsupported
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.job_policies import failure_policy, success_policy
from tiphys.cluster.apiserver.rules.paths import prefixed_path
from tiphys.cluster.apiserver.rules.pods import template_complaints
from tiphys.cluster.apiserver.rules.values import (
    Fields,
    chosen,
    immutable,
    not_negative,
    selector,
    selects,
    too_long,
)
from tiphys.lang import cron, name_rules

CRON_JOB_NAME_MAX: Final = 52
PARALLELISM_MAX: Final = 100_000
FAILED_MAX: Final = 100_000
MANY: Final = 100_000
PARALLELISM_OF_MANY_MAX: Final = 10_000
_AMOUNTS: Final = (
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
)
_KEPT: Final = (
    ("completionMode", ""),
    ("podFailurePolicy", "*batch.PodFailurePolicy"),
    ("backoffLimitPerIndex", ""),
    ("managedBy", ""),
    ("successPolicy", "*batch.SuccessPolicy"),
)


def job(obj: Object, old: Object | None) -> Iterator[Complaint]:
    spec, name = obj.get("spec") or {}, obj["metadata"].get("name") or ""
    yield from _generated_selector(obj, spec)
    yield from _whole_spec(spec)
    if old is not None:
        # The original judges the spec of a changed job twice, and says everything twice.
        yield from _whole_spec(spec)
        yield from _changes(spec, old)
    elif spec.get("completionMode") == "Indexed" and (spec.get("completions") or 0) > 0:
        host = f"{name}-{spec['completions'] - 1}"
        if name_rules.dns1123_label(host):
            yield invalid_value("metadata.name", name, f"will not able to create pod with invalid DNS label: {host}")


def _whole_spec(spec: Fields) -> Iterator[Complaint]:
    yield from job_spec(spec, "spec")
    wanted, held = spec.get("selector"), ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if wanted is None:
        yield required("spec.selector")
    yield from selector(wanted, "spec.selector")
    if not list(selector(wanted, "")) and (wanted is None or not selects(wanted, held or {})):
        yield invalid_value("spec.template.metadata.labels", held, "`selector` does not match template `labels`")


def _generated_selector(obj: Object, spec: Fields) -> Iterator[Complaint]:
    """A job whose writer did not insist on a selector has the one that the server made."""
    wanted, meta = spec.get("selector"), obj["metadata"]
    if spec.get("manualSelector") or wanted is None:
        return
    held = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    own = {"controller-uid": meta.get("uid") or "", "job-name": meta.get("name") or ""}
    expected = own | {f"batch.kubernetes.io/{key}": value for key, value in own.items()}
    for key, value in expected.items():
        at = f"spec.template.metadata.labels[{key}]"
        if key not in held:
            yield required(at, f"must be '{value}'")
        elif held[key] != value:
            yield invalid_value(at, held, f"must be '{value}'")
    if not list(selector(wanted, "")) and not selects(wanted, expected):
        yield invalid_value("spec.selector", wanted, "`selector` not auto-generated")


def job_spec(spec: Fields, at: str) -> Iterator[Complaint]:
    yield from not_negative(spec, at, *_AMOUNTS)
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        yield required(f"{at}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    manager = spec.get("managedBy")
    if manager is not None:
        yield from prefixed_path(manager, f"{at}.managedBy")
        if len(manager.encode()) > 63:
            yield too_long(f"{at}.managedBy", 63)
    yield from _mode_complaints(spec, at)
    if spec.get("podFailurePolicy") is not None:
        yield from failure_policy(spec, f"{at}.podFailurePolicy")
    if spec.get("successPolicy") is not None:
        if spec.get("completionMode") != "Indexed":
            told = internal_names.shown("batch.SuccessPolicy", spec["successPolicy"])
            yield invalid_value(f"{at}.successPolicy", told, "requires indexed completion mode")
        else:
            yield from success_policy(spec, f"{at}.successPolicy")
    policy = spec.get("podReplacementPolicy")
    choices = ("Failed",) if spec.get("podFailurePolicy") is not None else ("Failed", "TerminatingOrFailed")
    if policy is not None and policy not in choices:
        yield unsupported(f"{at}.podReplacementPolicy", policy, choices)
    template = spec.get("template") or {}
    yield from template_complaints(template, f"{at}.template")
    restart, here = (template.get("spec") or {}).get("restartPolicy") or "", f"{at}.template.spec.restartPolicy"
    if restart in ("", "Always"):
        yield required(here, 'valid values: "OnFailure", "Never"')
    elif restart not in ("OnFailure", "Never"):
        yield unsupported(here, restart, ("OnFailure", "Never"))
    elif spec.get("podFailurePolicy") is not None and restart != "Never":
        yield invalid_value(here, restart, 'only "Never" is supported when podFailurePolicy is specified')


def _mode_complaints(spec: Fields, at: str) -> Iterator[Complaint]:
    mode = spec.get("completionMode")
    if mode not in (None, "NonIndexed", "Indexed"):
        yield unsupported(f"{at}.completionMode", mode, ("NonIndexed", "Indexed"))
    if mode == "Indexed":
        yield from _indexed(spec, at)
    if mode in (None, "NonIndexed"):
        for field in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if spec.get(field) is not None:
                yield invalid_value(f"{at}.{field}", spec[field], "requires indexed completion mode")


def _indexed(spec: Fields, at: str) -> Iterator[Complaint]:
    count, failed, parallel = (spec.get(field) for field in ("completions", "maxFailedIndexes", "parallelism"))
    if count is None:
        yield required(f"{at}.completions", "when completion mode is Indexed")
    if parallel is not None and parallel > PARALLELISM_MAX:
        text = f"must be less than or equal to {PARALLELISM_MAX} when completion mode is Indexed"
        yield invalid_value(f"{at}.parallelism", parallel, text)
    if count is not None and failed is not None and failed > count:
        yield invalid_value(f"{at}.maxFailedIndexes", failed, "must be less than or equal to completions")
    if failed is not None and failed > FAILED_MAX:
        yield invalid_value(f"{at}.maxFailedIndexes", failed, f"must be less than or equal to {FAILED_MAX}")
    if count is not None and count > MANY and spec.get("backoffLimitPerIndex") is not None:
        if failed is None:
            yield required(f"{at}.maxFailedIndexes", f"must be specified when completions is above {MANY}")
        rest = f"when completions are above {MANY} and used with backoff limit per index"
        for field, value in (("parallelism", parallel), ("maxFailedIndexes", failed)):
            if value is not None and value > PARALLELISM_OF_MANY_MAX:
                text = f"must be less than or equal to {PARALLELISM_OF_MANY_MAX} {rest}"
                yield invalid_value(f"{at}.{field}", value, text)


def _changes(spec: Fields, old: Object) -> Iterator[Complaint]:
    before = old.get("spec") or {}
    count, held = spec.get("completions"), before.get("completions")
    if spec.get("completionMode") != "Indexed":
        yield from immutable("spec.completions", count, held)
    elif count is not None and count != held and count != spec.get("parallelism"):
        yield invalid_value("spec.completions", count, "can only be modified in tandem with spec.parallelism")
    yield from immutable("spec.selector", spec.get("selector"), before.get("selector"))
    yield from _template_changes(spec, before, old)
    for field, kind in _KEPT:
        yield from immutable(f"spec.{field}", spec.get(field), before.get(field), kind)


def _template_changes(spec: Fields, before: Fields, old: Object) -> Iterator[Complaint]:
    """A suspended job that never started may be told anew where to run."""
    template, held = spec.get("template") or {}, dict(before.get("template") or {})
    if before.get("suspend") and (old.get("status") or {}).get("startTime") is None:
        held = _redirected(template, held)
    yield from immutable("spec.template", template, held, "core.PodTemplateSpec")


def _redirected(template: Fields, held: Fields) -> dict[str, Any]:
    inner, meta = dict(held.get("spec") or {}), dict(held.get("metadata") or {})
    own, own_meta = template.get("spec") or {}, template.get("metadata") or {}
    for field in ("nodeSelector", "tolerations", "schedulingGates"):
        _take(inner, own, field)
    for field in ("annotations", "labels"):
        _take(meta, own_meta, field)
    affinity = dict(inner.get("affinity") or {})
    _take(affinity, own.get("affinity") or {}, "nodeAffinity")
    if affinity or own.get("affinity") is not None:
        inner["affinity"] = affinity
    else:
        inner.pop("affinity", None)
    return {**held, "spec": inner, "metadata": meta}


def _take(target: dict[str, Any], source: Fields, field: str) -> None:
    if field in source:
        target[field] = source[field]
    else:
        target.pop(field, None)


# CronJobs


def cron_job(obj: Object, old: Object | None) -> Iterator[Complaint]:
    spec, name = obj.get("spec") or {}, obj["metadata"].get("name") or ""
    before = (old or {}).get("spec") or {}
    if not spec.get("schedule"):
        yield required("spec.schedule")
    else:
        yield from _schedule(spec["schedule"], spec.get("timeZone"), "TZ" in (before.get("schedule") or ""))
    yield from not_negative(spec, "spec", "startingDeadlineSeconds")
    if old is None or spec.get("timeZone") != before.get("timeZone"):
        yield from _time_zone(spec.get("timeZone"))
    yield from chosen(spec.get("concurrencyPolicy"), "spec.concurrencyPolicy", ("Allow", "Forbid", "Replace"))
    inner = (spec.get("jobTemplate") or {}).get("spec") or {}
    yield from job_spec(inner, "spec.jobTemplate.spec")
    if inner.get("selector") is not None:
        text = "`selector` will be auto-generated"
        yield invalid_value("spec.jobTemplate.spec.selector", inner["selector"], text)
    if inner.get("manualSelector"):
        yield unsupported("spec.jobTemplate.spec.manualSelector", True, ("nil", "false"))
    yield from not_negative(spec, "spec", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")
    if old is None and len(name.encode()) > CRON_JOB_NAME_MAX:
        yield invalid_value("metadata.name", name, f"must be no more than {CRON_JOB_NAME_MAX} characters")


def _schedule(schedule: str, zone: str | None, allows_zone: bool) -> Iterator[Complaint]:
    try:
        cron.parse(schedule)
    except cron.CronError as err:
        yield invalid_value("spec.schedule", schedule, str(err))
    if "TZ" not in schedule:
        return
    if not allows_zone:
        text = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        yield invalid_value("spec.schedule", schedule, text)
    elif zone is not None:
        yield invalid_value("spec.schedule", schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule")


def _time_zone(zone: str | None) -> Iterator[Complaint]:
    if zone is None:
        return
    if not zone:
        yield invalid_value("spec.timeZone", zone, "timeZone must be nil or non-empty string")
        return
    if not _is_zone_name(zone.split("/")):
        yield invalid_value("spec.timeZone", zone, f"unknown time zone {zone}")
        return
    if zone.lower() == "local":
        text = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        yield invalid_value("spec.timeZone", zone, text)
    try:
        if zone not in ("UTC", "Local"):
            ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield invalid_value("spec.timeZone", zone, f"unknown time zone {zone}")


def _is_zone_name(parts: Sequence[str]) -> bool:
    return all(
        part not in (".", "..") and not part.startswith("-") and re.fullmatch(r"[A-Za-z.\-_0-9+]{1,14}", part)
        for part in parts
    )
