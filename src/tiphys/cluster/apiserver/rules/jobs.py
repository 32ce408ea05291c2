"""Jobs and CronJobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tiphys.cluster.apiserver.problems import Complaint, invalid_value, required
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.pods import template_complaints
from tiphys.cluster.apiserver.rules.values import not_negative, one_of

CRON_JOB_NAME_MAX: Final = 52
_AMOUNTS: Final = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")


def job(obj: Object, old: Object | None) -> Iterator[Complaint]:
    del old
    yield from job_spec(obj.get("spec") or {}, "spec")


def job_spec(spec: dict[str, Any], at: str) -> Iterator[Complaint]:
    yield from not_negative(spec, at, *_AMOUNTS, "backoffLimitPerIndex", "maxFailedIndexes")
    yield from one_of(spec, at, "completionMode", ("NonIndexed", "Indexed"))
    if spec.get("backoffLimitPerIndex") is not None and spec.get("completionMode") != "Indexed":
        at_field, value = f"{at}.backoffLimitPerIndex", spec["backoffLimitPerIndex"]
        yield invalid_value(at_field, value, "requires indexed completion mode")
    yield from one_of(spec, at, "podReplacementPolicy", ("Failed", "TerminatingOrFailed"))
    template = spec.get("template") or {}
    yield from template_complaints(template, f"{at}.template")
    if (template.get("spec") or {}).get("restartPolicy") not in ("OnFailure", "Never"):
        yield required(f"{at}.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')


def cron_job(obj: Object, old: Object | None) -> Iterator[Complaint]:
    spec, name = obj.get("spec") or {}, obj["metadata"].get("name") or ""
    if not spec.get("schedule"):
        yield required("spec.schedule")
    elif "TZ" in spec["schedule"]:
        text = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        yield invalid_value("spec.schedule", spec["schedule"], text)
    if str(spec.get("timeZone") or "").lower() == "local":
        text = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        yield invalid_value("spec.timeZone", spec["timeZone"], text)
    yield from not_negative(spec, "spec", "startingDeadlineSeconds")
    yield from one_of(spec, "spec", "concurrencyPolicy", ("Allow", "Forbid", "Replace"))
    yield from job_spec((spec.get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec")
    yield from not_negative(spec, "spec", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")
    if old is None and len(name) > CRON_JOB_NAME_MAX:
        yield invalid_value("metadata.name", name, f"must be no more than {CRON_JOB_NAME_MAX} characters")
