"""Defaults of the batch group."""

from __future__ import annotations

from collections.abc import Callable

from tiphys.api.defaults.core import Object, each, fill, pod_template

INT32_MAX = 2**31 - 1


def job(obj: Object) -> None:
    spec = obj["spec"]
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    fill(spec, parallelism=1)
    fill(spec, backoffLimit=6 if spec.get("backoffLimitPerIndex") is None else INT32_MAX)
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    if labels and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = labels
    fill(spec, completionMode="NonIndexed", suspend=False, manualSelector=False)
    policy = spec.get("podFailurePolicy")
    for rule in each(policy or {}, "rules"):
        for pattern in each(rule, "onPodConditions"):
            fill(pattern, status="True")
    fill(spec, podReplacementPolicy="TerminatingOrFailed" if policy is None else "Failed")
    pod_template(spec["template"])


def cron_job(obj: Object) -> None:
    spec = obj["spec"]
    fill(spec, concurrencyPolicy="Allow", suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)
    pod_template(spec["jobTemplate"]["spec"]["template"])


DEFAULTERS: dict[str, Callable[[Object], None]] = {
    "batch/v1/Job": job,
    "batch/v1/CronJob": cron_job,
    "batch/v1beta1/CronJob": cron_job,
}
