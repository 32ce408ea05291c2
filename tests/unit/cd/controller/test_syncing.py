"""An application from its creation on: compared, synced, healed, pruned, rolled back."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from tests.unit.cd.controller.scenes import (
    AUTOMATED,
    DEPLOYMENTS,
    JOBS,
    Scene,
    annotated,
    config_map,
    health_of,
    phase_of,
    running,
    scene,
    sync_of,
)
from tiphys.cd.caches import APPLICATIONS
from tiphys.cd.settings import ControllerSettings
from tiphys.machinery.resources import CONFIG_MAPS, ObjectKey


async def test_without_a_policy_it_is_only_compared() -> None:
    async with scene() as it:
        it.sources.commit(config_map())
        await it.create()
        app = await it.until(lambda app: sync_of(app) == "OutOfSync")
        assert health_of(app) == "Missing"
        assert app["status"]["resources"] == [
            {"version": "v1", "kind": "ConfigMap", "namespace": "default", "name": "one", "status": "OutOfSync"}
        ]
        assert app["status"]["sync"]["revision"] == it.sources.revision
        assert await it.find(CONFIG_MAPS, "one") is None


async def test_auto_sync_applies_and_records() -> None:
    async with scene() as it:
        it.sources.commit(config_map())
        await it.create(syncPolicy=AUTOMATED)
        app = await it.synced()
        assert health_of(app) == "Healthy"
        assert phase_of(app) == "Succeeded"
        assert app["status"]["operationState"]["message"] == "successfully synced (all tasks run)"
        assert app["status"]["history"][0]["revision"] == it.sources.revision
        assert app["status"]["history"][0]["initiatedBy"] == {"automated": True}
        live = await it.find(CONFIG_MAPS, "one")
        assert live is not None
        tracking = live["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"]
        assert tracking == "app:/ConfigMap:default/one"


async def test_a_commit_is_found_by_refresh() -> None:
    async with scene() as it:
        it.sources.commit(config_map(a="1"))
        await it.create(syncPolicy=AUTOMATED)
        await it.synced()
        it.sources.commit(config_map(a="2"))
        await it.refresh()
        app = await it.synced()
        assert "argocd.argoproj.io/refresh" not in (app["metadata"].get("annotations") or {})
        live = await it.find(CONFIG_MAPS, "one")
        assert live is not None and live["data"] == {"a": "2"}


async def test_drift_is_healed() -> None:
    async with scene() as it:
        it.sources.commit(config_map(a="1"))
        await it.create(syncPolicy=AUTOMATED)
        await it.synced()
        await it.client.patch(CONFIG_MAPS, ObjectKey("default", "one"), {"data": {"a": "changed"}})
        app = await it.until(
            lambda app: (
                app["status"]["operationState"]["operation"]["sync"].get("autoHealAttemptsCount") == 1
                and not running(app)
            )
        )
        assert sync_of(app) == "Synced"
        live = await it.find(CONFIG_MAPS, "one")
        assert live is not None and live["data"] == {"a": "1"}


async def test_what_git_lost_is_pruned() -> None:
    async with scene() as it:
        it.sources.commit(config_map("one"), config_map("two"))
        await it.create(syncPolicy=AUTOMATED)
        await it.synced()
        it.sources.commit(config_map("one"))
        await it.refresh()
        await it.synced()
        assert await it.find(CONFIG_MAPS, "two") is None
        assert await it.find(CONFIG_MAPS, "one") is not None


async def test_an_operation_by_hand_and_a_rollback() -> None:
    async with scene() as it:
        first = it.sources.commit(config_map(a="1"))
        await it.create()
        await it.until(lambda app: sync_of(app) == "OutOfSync")
        await it.sync()
        await it.synced()
        it.sources.commit(config_map(a="2"))
        await it.sync()
        await it.synced()
        await it.sync(revision=first)
        app = await it.until(lambda app: len(app["status"].get("history", ())) == 3 and not running(app))
        live = await it.find(CONFIG_MAPS, "one")
        assert live is not None and live["data"] == {"a": "1"}
        assert sync_of(app) == "OutOfSync"
        assert app["status"]["operationState"]["operation"]["initiatedBy"] == {"username": "ann"}


async def test_waves_come_one_after_the_other() -> None:
    async with scene() as it:
        job = annotated(_job("second"), sync_wave="1")
        it.sources.commit(_deployment("first"), job)
        await it.create(syncPolicy=AUTOMATED)
        app = await it.until(lambda app: (app["status"].get("operationState") or {}).get("syncResult"))
        assert phase_of(app) == "Running"
        assert await it.find(JOBS, "second") is None
        status = {
            "observedGeneration": 1,
            "replicas": 1,
            "updatedReplicas": 1,
            "readyReplicas": 1,
            "availableReplicas": 1,
        }
        await it.client.patch(DEPLOYMENTS, ObjectKey("default", "first"), {"status": status}, subresource="status")
        app = await it.until(lambda app: not running(app) and phase_of(app) == "Succeeded")
        assert await it.find(JOBS, "second") is not None


async def test_hooks_run_before_and_after() -> None:
    async with scene() as it:
        before = annotated(_job("before"), hook="PreSync", hook_delete_policy="HookSucceeded")
        it.sources.commit(before, config_map())
        await it.create(syncPolicy=AUTOMATED)
        await it.until(lambda app: (app["status"].get("operationState") or {}).get("syncResult"))
        assert await it.find(CONFIG_MAPS, "one") is None
        assert await it.find(JOBS, "before") is not None
        await _finish(it, "before", "Complete")
        app = await it.synced()
        assert phase_of(app) == "Succeeded"
        await it.gone(JOBS, "before")


async def test_a_hook_that_fails_fails_the_sync_and_it_is_tried_again() -> None:
    async with scene() as it:
        it.sources.commit(annotated(_job("before"), hook="PreSync"), config_map())
        retry = {"limit": 1, "backoff": {"duration": "0s"}}
        await it.create(syncPolicy=AUTOMATED | {"retry": retry})
        await it.until(lambda app: (app["status"].get("operationState") or {}).get("syncResult"))
        first = await it.find(JOBS, "before")
        await _finish(it, "before", "Failed")
        await it.until(lambda app: app["status"]["operationState"].get("retryCount") == 1)

        async def is_made_again() -> bool:
            job = await it.find(JOBS, "before")
            return job is not None and first is not None and job["metadata"]["uid"] != first["metadata"]["uid"]

        await it.eventually(is_made_again)
        await _finish(it, "before", "Failed")
        app = await it.until(lambda app: not running(app))
        assert phase_of(app) == "Failed"
        assert app["status"]["operationState"]["message"].endswith("(retried 1 times).")
        assert await it.find(CONFIG_MAPS, "one") is None


async def test_a_retry_runs_all_hooks_again_as_the_original_does() -> None:
    """The original forgets what came of an attempt when it begins the next one."""
    async with scene() as it:
        hooks = annotated(_job("before"), hook="PreSync"), annotated(_job("with"), hook="Sync")
        it.sources.commit(*hooks, config_map())
        await it.create(syncPolicy=AUTOMATED | {"retry": {"limit": 1, "backoff": {"duration": "0s"}}})
        made = []
        for _attempt in range(2):
            for name, how in (("before", "Complete"), ("with", "Failed")):

                async def is_new(name: str = name) -> bool:
                    job = await it.find(JOBS, name)
                    return job is not None and job["metadata"]["uid"] not in made

                await it.eventually(is_new)
                made.append((await it.client.get(JOBS, ObjectKey("default", name)))["metadata"]["uid"])
                await _finish(it, name, how)
        app = await it.until(lambda app: not running(app))
        assert phase_of(app) == "Failed" and len(set(made)) == 4


async def test_a_sync_is_terminated() -> None:
    async with scene() as it:
        it.sources.commit(annotated(_job("before"), hook="PreSync"), config_map())
        await it.create()
        await it.sync()
        await it.until(lambda app: (app["status"].get("operationState") or {}).get("syncResult"))
        await it.patch({"status": {"operationState": {"phase": "Terminating"}}})
        app = await it.until(lambda app: not running(app))
        assert phase_of(app) == "Failed"
        assert app["status"]["operationState"]["message"] == "Operation terminated"
        await it.gone(JOBS, "before")


async def test_a_problem_of_the_sources_is_a_condition() -> None:
    async with scene() as it:
        it.sources.problem = "no such repository"
        await it.create(syncPolicy=AUTOMATED)
        app = await it.until(lambda app: app.get("status", {}).get("conditions"))
        (condition,) = app["status"]["conditions"]
        assert condition["type"] == "ComparisonError"
        assert condition["message"] == "Failed to load target state: no such repository"
        assert sync_of(app) == "Unknown"


async def test_what_nobody_signed_is_compared_and_not_synced() -> None:
    async with scene() as it:
        it.sources.commit(config_map())
        it.sources.untrusted = ("GIT/GPG: unsigned",)
        await it.create(syncPolicy=AUTOMATED)
        app = await it.until(lambda app: app["status"].get("conditions"))
        assert app["status"]["conditions"][0]["message"] == "GIT/GPG: unsigned" and sync_of(app) == "OutOfSync"
        await it.sync()
        app = await it.until(lambda app: phase_of(app) == "Error")
        assert app["status"]["operationState"]["message"] == "ComparisonError: GIT/GPG: unsigned"
        assert await it.find(CONFIG_MAPS, "one") is None
        it.sources.untrusted = ()
        await it.sync()  # a revision that failed is not tried again by itself
        await it.synced()


async def test_a_project_that_is_not_there() -> None:
    async with scene() as it:
        await it.create(project="other")
        app = await it.until(lambda app: app.get("status", {}).get("conditions"))
        (condition,) = app["status"]["conditions"]
        assert condition["type"] == "InvalidSpecError"
        assert condition["message"] == "Application referencing project other which does not exist"


async def test_the_server_may_say_what_differs() -> None:
    async with scene() as it:
        it.sources.commit(_deployment("web"), config_map())
        asks = {"argocd.argoproj.io/compare-options": "ServerSideDiff=true"}
        await it.create(syncPolicy=AUTOMATED | {"syncOptions": ["ServerSideApply=true"]}, annotations=asks)
        await it.synced()
        await it.client.patch(DEPLOYMENTS, ObjectKey("default", "web"), {"spec": {"replicas": 3}})
        app = await it.until(
            lambda app: (
                app["status"]["operationState"]["operation"]["sync"].get("autoHealAttemptsCount") and not running(app)
            )
        )
        assert sync_of(app) == "Synced"
        live = await it.find(DEPLOYMENTS, "web")
        assert live is not None and live["spec"]["replicas"] == 1


async def test_one_waits_for_another() -> None:
    async with scene() as it:
        it.sources.commit(_deployment("first"))
        await it.create("base", syncPolicy=AUTOMATED)
        await it.until(lambda app: phase_of(app) == "Succeeded", "base")
        depends = {"tiphys.argoproj.io/depends-on": "base"}
        destination = {"server": "https://kubernetes.default.svc", "namespace": "kube-public"}
        await it.create("top", syncPolicy=AUTOMATED, annotations=depends, destination=destination)
        app = await it.until(lambda app: phase_of(app) == "Running", "top")
        app = await it.until(lambda app: app["status"]["operationState"].get("message"), "top")
        assert (
            "waiting for application base: it is Synced and Progressing" in app["status"]["operationState"]["message"]
        )
        status = {
            "observedGeneration": 1,
            "replicas": 1,
            "updatedReplicas": 1,
            "readyReplicas": 1,
            "availableReplicas": 1,
        }
        await it.client.patch(DEPLOYMENTS, ObjectKey("default", "first"), {"status": status}, subresource="status")
        await it.until(lambda app: phase_of(app) == "Succeeded", "top")
        assert it.controller.waiting == {}


async def test_nobody_is_remembered_to_wait_who_is_gone() -> None:
    async with scene() as it:
        it.sources.commit(config_map())
        await it.create("top", syncPolicy=AUTOMATED, annotations={"tiphys.argoproj.io/depends-on": "one, two"})
        await it.until(lambda app: phase_of(app) == "Running", "top")
        top = ObjectKey("argocd", "top")
        await it.eventually(_always(lambda: set(it.controller.waiting) == {_key("one"), _key("two")}))
        await it.create("one", syncPolicy=AUTOMATED)
        await it.synced("one")
        await it.eventually(_always(lambda: it.controller.waiting == {_key("two"): {top}}))
        await it.client.delete(APPLICATIONS, top)
        await it.create("other")  # so that something changes after the deletion is seen
        await it.until(sync_of, "other")
        assert it.controller.waiting == {}


def _always(holds: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def asked() -> bool:
        return holds()

    return asked


def _key(name: str) -> ObjectKey:
    return ObjectKey("argocd", name)


def _deployment(name: str) -> dict[str, Any]:
    labels = {"matchLabels": {"app": name}}
    pod = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": "nginx"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": 1, "selector": labels, "template": pod},
    }


def _job(name: str) -> dict[str, Any]:
    pod = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": pod}}


async def _finish(it: Scene, name: str, how: str) -> None:
    extra = [{"type": "SuccessCriteriaMet" if how == "Complete" else "FailureTarget", "status": "True"}]
    status = {"conditions": [*extra, {"type": how, "status": "True"}], "startTime": "2024-01-01T00:00:00Z"}
    if how == "Complete":
        status["completionTime"] = "2024-01-01T00:00:01Z"
    await it.client.patch(JOBS, ObjectKey("default", name), {"status": status}, subresource="status")


async def test_a_repository_that_fails_for_a_moment_changes_nothing() -> None:
    settings = ControllerSettings(refresh_period=timedelta(milliseconds=20), refresh_jitter=timedelta())
    async with scene(settings) as it:
        it.sources.commit(config_map())
        await it.create(syncPolicy=AUTOMATED)
        before = await it.synced()
        it.sources.problem, renders = "the server does not answer", it.sources.renders
        await it.until(lambda _: it.sources.renders > renders)
        assert (await it.app())["status"] == before["status"]
        it.sources.problem = ""
        it.sources.commit(config_map("two"))
        await it.synced()


async def test_a_repository_that_fails_for_long_is_said() -> None:
    settings = ControllerSettings(
        refresh_period=timedelta(milliseconds=20), refresh_jitter=timedelta(), repository_grace=timedelta()
    )
    async with scene(settings) as it:
        it.sources.commit(config_map())
        await it.create(syncPolicy=AUTOMATED)
        await it.synced()
        it.sources.problem = "the server does not answer"
        app = await it.until(lambda app: app["status"].get("conditions"))
        assert app["status"]["conditions"][0]["message"].endswith("the server does not answer")


async def test_a_look_that_failed_is_repeated_soon() -> None:
    async with scene(ControllerSettings(refresh_period=None)) as it:
        it.sources.problem = "the server does not answer"
        await it.create(syncPolicy=AUTOMATED)
        await it.until(lambda app: app["status"].get("conditions"))
        it.sources.problem = ""
        it.sources.commit(config_map())
        await it.synced()
