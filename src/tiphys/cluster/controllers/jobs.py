"""The Job controller, and the one that deletes finished jobs when their time is over (``ttlSecondsAfterFinished``)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tiphys.cluster.controllers import telling
from tiphys.cluster.controllers.kit import NAMESPACED, ORPHANS, OWNED, Controller
from tiphys.cluster.controllers.plan import owners, pods
from tiphys.cluster.controllers.plan.jobs import Observed, Step, finished_at, has_finalizer, is_finished, plan, released
from tiphys.cluster.controllers.plan.statuses import status_patch
from tiphys.cluster.controllers.wakes import expires
from tiphys.machinery.actions import Create, Delete, Emit
from tiphys.machinery.resources import JOBS, PODS, ObjectKey, key_of
from tiphys.machinery.selectors import from_structured
from tiphys.runtime.controller import Outcome

Object = Mapping[str, Any]
_MANAGED_HERE = (None, "kubernetes.io/job-controller")


class JobController(Controller):
    name = "job-controller"
    reads = (JOBS, PODS)

    def subscribe(self) -> None:
        self.on_own(JOBS)
        self.on_owned(PODS, JOBS.kind, self._orphan)

    def _orphan(self, pod: Object) -> None:
        labels = pod["metadata"].get("labels") or {}
        if "batch.kubernetes.io/controller-uid" in labels or "job-name" in labels:
            for job in self.cache(JOBS).indexed(NAMESPACED, pod["metadata"]["namespace"]):
                if from_structured(job["spec"].get("selector")).matches(labels):
                    self.queue.add(key_of(job))

    async def reconcile(self, key: ObjectKey) -> Outcome:
        job = self.cache(JOBS).get(key)
        if job is None:
            await self._let_go(key)
            return None
        if job["spec"].get("managedBy") not in _MANAGED_HERE:
            return None
        seen = await self._observe(job)
        if is_finished(job):
            held = [pod for pod in seen.pods if has_finalizer(pod)]
            await self.attempt([released(pod) for pod in held])
            return None
        step = plan(seen, self.clock.now())
        await self._carry_out(job, step)
        return step.wake_at

    async def _carry_out(self, job: Object, step: Step) -> None:
        if step.interim is not None:
            await self.carry_out(status_patch(JOBS, job, step.interim))
            job = {**job, "status": step.interim}
        outcomes = await self.attempt(*step.pods)
        telling.of_pods(self.events, job, JOBS, outcomes)
        await self.attempt(step.finalizers)
        refused = sum(isinstance(each.action, Create) and each.error is not None for each in outcomes)
        tried = sum(isinstance(each.action, Create) for each in outcomes)
        made = sum(isinstance(action, Create) for stage in step.pods for action in stage)
        missing = refused + made - tried
        status = dict(step.status)
        if missing:
            status["active"] = max(0, int(status.get("active", 0)) - missing)
            status = {name: value for name, value in status.items() if name != "active" or value}
        await self.carry_out(status_patch(JOBS, job, status))
        for kind, reason, message in step.news:
            self.events.emit(Emit(owners.reference_to(job, JOBS), kind, reason, message))
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error

    async def _observe(self, job: Object) -> Observed:
        cached, meta = self.cache(PODS), job["metadata"]
        found = owners.claim(
            job,
            JOBS,
            PODS,
            cached.indexed(OWNED, meta["uid"]),
            cached.indexed(ORPHANS, meta["namespace"]),
            from_structured(job["spec"].get("selector")),
            pods.is_active,
        )
        if found.patches:
            await self.carry_out(found.patches)
        return Observed(job, found.owned)

    async def _let_go(self, key: ObjectKey) -> None:
        """The pods of a job that is gone need not wait to be counted."""
        left = []
        for pod in self.cache(PODS).indexed(NAMESPACED, key.namespace):
            owner = owners.controller_of(pod)
            mine = owner is not None and (owner["kind"], owner["name"]) == (JOBS.kind, key.name)
            if mine and has_finalizer(pod):
                left.append(released(pod))
        await self.attempt(left)


class TtlAfterFinishedController(Controller):
    name = "ttl-after-finished-controller"
    reads = (JOBS,)

    def subscribe(self) -> None:
        self.on_own(JOBS)

    async def reconcile(self, key: ObjectKey) -> Outcome:
        job = self.cache(JOBS).get(key)
        if job is None or not expires(job) or job["metadata"].get("deletionTimestamp"):
            return None
        ended = finished_at(job)
        if ended is None:
            return None
        dies_at = ended + timedelta(seconds=int(job["spec"]["ttlSecondsAfterFinished"]))
        if self.clock.now() < dies_at:
            return dies_at
        why = "its ttlSecondsAfterFinished are over"
        await self.carry_out([Delete(JOBS, key, job["metadata"]["uid"], propagation="Foreground", why=why)])
        return None
