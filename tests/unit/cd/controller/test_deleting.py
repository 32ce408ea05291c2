"""Deleting applications: what goes with them, in which order, and what stays."""

from typing import Any

from tests.unit.cd.controller.scenes import AUTOMATED, JOBS, Scene, annotated, config_map, scene
from tiphys.cd.caches import APPLICATIONS
from tiphys.cd.deleting import BACKGROUND, HOOK_FINALIZERS, RESOURCES
from tiphys.machinery.resources import CONFIG_MAPS, ObjectKey

KEY = ObjectKey("argocd", "app")


async def test_without_a_finalizer_everything_stays() -> None:
    async with scene() as it:
        it.sources.commit(config_map())
        await it.create(syncPolicy=AUTOMATED)
        await it.synced()
        await it.client.delete(APPLICATIONS, KEY)
        await it.gone(APPLICATIONS, "app", "argocd")
        assert await it.find(CONFIG_MAPS, "one") is not None


async def test_a_cascade_takes_the_objects_but_what_asks_to_be_kept() -> None:
    for finalizer in (RESOURCES, BACKGROUND):
        async with scene() as it:
            kept = annotated(config_map("kept"), sync_options="Delete=false")
            late = annotated(config_map("late"), sync_wave="2")
            it.sources.commit(config_map("one"), late, kept)
            await it.create(syncPolicy=AUTOMATED, finalizers=[finalizer])
            await it.synced()
            await it.client.delete(APPLICATIONS, KEY)
            await it.gone(APPLICATIONS, "app", "argocd")
            assert [await it.find(CONFIG_MAPS, name) for name in ("one", "late")] == [None, None]
            assert await it.find(CONFIG_MAPS, "kept") is not None


async def test_a_cluster_that_is_not_known_holds_nothing_up() -> None:
    async with scene() as it:
        await it.create(destination={"server": "https://gone.example.com", "namespace": "x"}, finalizers=[RESOURCES])
        app = await it.until(lambda app: app["status"].get("conditions"))
        assert 'cluster "https://gone.example.com" not found' in app["status"]["conditions"][0]["message"]
        await it.client.delete(APPLICATIONS, KEY)
        await it.gone(APPLICATIONS, "app", "argocd")


async def test_what_needs_a_confirmation_waits_for_it() -> None:
    async with scene() as it:
        it.sources.commit(annotated(config_map(), sync_options="Delete=confirm"))
        await it.create(syncPolicy=AUTOMATED, finalizers=[RESOURCES])
        await it.synced()
        await it.client.delete(APPLICATIONS, KEY)
        app = await it.until(lambda app: app["metadata"].get("deletionTimestamp"))
        assert await it.find(CONFIG_MAPS, "one") is not None
        approved = {"argocd.argoproj.io/deletion-approved": app["metadata"]["deletionTimestamp"]}
        await it.patch({"metadata": {"annotations": approved}})
        await it.gone(APPLICATIONS, "app", "argocd")
        assert await it.find(CONFIG_MAPS, "one") is None


async def test_hooks_run_when_it_is_deleted() -> None:
    async with scene() as it:
        job = annotated(_job("farewell"), hook="PostDelete", hook_delete_policy="HookSucceeded")
        it.sources.commit(config_map(), job)
        await it.create(syncPolicy=AUTOMATED, finalizers=[RESOURCES])
        app = await it.synced()
        assert HOOK_FINALIZERS["PostDelete"] in app["metadata"]["finalizers"]
        assert await it.find(JOBS, "farewell") is None
        await it.client.delete(APPLICATIONS, KEY)
        await it.gone(CONFIG_MAPS, "one")
        await _until_there(it, "farewell")
        await _complete(it, "farewell")
        await it.gone(APPLICATIONS, "app", "argocd")


def _job(name: str) -> dict[str, Any]:
    pod = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": pod}}


async def _until_there(it: Scene, name: str) -> None:
    async def there() -> bool:
        return await it.find(JOBS, name) is not None

    await it.eventually(there)


async def _complete(it: Scene, name: str) -> None:
    conditions = [{"type": each, "status": "True"} for each in ("SuccessCriteriaMet", "Complete")]
    times = dict.fromkeys(("startTime", "completionTime"), "2024-01-01T00:00:00Z")
    status = {"conditions": conditions, **times}
    await it.client.patch(JOBS, ObjectKey("default", name), {"status": status}, subresource="status")
