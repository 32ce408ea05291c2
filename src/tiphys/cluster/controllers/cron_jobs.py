"""The CronJob controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiphys.cluster.controllers import telling
from tiphys.cluster.controllers.kit import OWNED, Controller
from tiphys.cluster.controllers.plan.cron_jobs import Observed, plan, started
from tiphys.cluster.controllers.plan.statuses import status_patch, without_empty
from tiphys.machinery.errors import AlreadyExists, ApiError
from tiphys.machinery.resources import CRON_JOBS, JOBS, ObjectKey, key_of
from tiphys.runtime.controller import Outcome

Object = Mapping[str, Any]


class CronJobController(Controller):
    name = "cronjob-controller"
    reads = (CRON_JOBS, JOBS)

    def subscribe(self) -> None:
        self.on_own(CRON_JOBS)
        self.on_owned(JOBS, CRON_JOBS.kind)

    async def reconcile(self, key: ObjectKey) -> Outcome:
        cron_job = self.cache(CRON_JOBS).get(key)
        if cron_job is None:
            return None
        jobs = tuple(self.cache(JOBS).indexed(OWNED, cron_job["metadata"]["uid"]))
        step = plan(Observed(cron_job, jobs), self.clock.now())
        await self.carry_out(*step.actions)
        status = step.status
        if step.starts is not None:
            status = started(step, await self._start(cron_job, step.starts.obj))
        await self.carry_out(status_patch(CRON_JOBS, cron_job, without_empty(status)))
        return step.wake_at

    async def _start(self, cron_job: Object, job: Object) -> Object:
        """Makes the job; one that is there already is ours from before a crash."""
        name = job["metadata"]["name"]
        try:
            made = await self.client.create(JOBS, job)
        except AlreadyExists:
            return await self.client.get(JOBS, key_of(job))
        except ApiError as err:
            telling.warning(self.events, cron_job, CRON_JOBS, "FailedCreate", f"Error creating job: {err}")
            raise
        self.cache(JOBS).learn(made)
        telling.normal(self.events, cron_job, CRON_JOBS, "SuccessfulCreate", f"Created job {name}")
        return made
