"""Applications whose source is rendered into a branch."""

from __future__ import annotations

import json
from typing import Any

from tests.unit.cd.controller.scenes import URL, Scene, config_map, scene
from tiphys.lang import goyaml


def hydrated(path: str = "app", **more: Any) -> dict[str, Any]:
    dry = {"repoURL": URL, "path": "dry", "targetRevision": "main"}
    return {"drySource": dry, "syncSource": {"targetBranch": "env/prod", "path": path}, **more}


async def create(it: Scene, name: str = "app", **hydrator: Any) -> None:
    await it.create(name, source=None, sourceHydrator=hydrated(**hydrator))


def operation(app: Any) -> dict[str, Any]:
    found: dict[str, Any] = ((app["status"] or {}).get("sourceHydrator") or {}).get("currentOperation") or {}
    return found


async def test_what_is_dry_becomes_a_commit() -> None:
    async with scene() as it:
        dry = it.sources.commit(config_map())
        await create(it, hydrateTo={"targetBranch": "env/prod-next"})
        app = await it.until(lambda app: operation(app).get("phase") == "Hydrated")
        (pushed,) = it.sources.pushed
        assert (pushed.url, pushed.branch, pushed.base, pushed.dry) == (URL, "env/prod-next", "env/prod", dry)
        assert goyaml.load(pushed.files["app/manifest.yaml"]) == config_map()
        about = {"repoURL": URL, "drySha": dry}
        assert json.loads(pushed.files["app/hydrator.metadata"]) == {"commands": ["build"], **about}
        more = {"author": "ann", "date": "2026-01-01T00:00:00Z", "subject": "change", "body": "why"}
        assert json.loads(pushed.files["hydrator.metadata"]) == about | more
        assert f"git checkout {dry}\nbuild\n" in pushed.files["app/README.md"]
        assert pushed.message == f"{dry[:7]}: change\n\nwhy\n\nCo-authored-by: ann\n"
        status = app["status"]["sourceHydrator"]
        assert status["lastSuccessfulOperation"]["drySHA"] == status["lastComparedDryRevision"] == dry
        # Nothing new: nothing is done.
        await it.refresh()
        await it.until(lambda app: "argocd.argoproj.io/refresh" not in app["metadata"].get("annotations", {}))
        assert len(it.sources.pushed) == 1
        # It is asked for.
        await it.patch({"metadata": {"annotations": {"argocd.argoproj.io/hydrate": "normal"}}})
        await it.until(lambda app: "argocd.argoproj.io/hydrate" not in app["metadata"].get("annotations", {}))
        assert len(it.sources.pushed) == 2
        newer = it.sources.commit(config_map(a="c"))
        await it.refresh()
        await it.until(lambda app: operation(app).get("drySHA") == newer and operation(app)["phase"] == "Hydrated")
        assert goyaml.load(it.sources.pushed[-1].files["app/manifest.yaml"])["data"] == {"a": "c"}


async def test_applications_with_one_branch_are_hydrated_together() -> None:
    async with scene() as it:
        it.sources.commit(config_map())
        await create(it, "one", path="one")
        await it.until(lambda app: operation(app).get("phase") == "Hydrated", "one")
        await create(it, "two", path="./two")
        await it.until(lambda app: operation(app).get("phase") == "Hydrated", "two")
        assert set(it.sources.pushed[-1].deciding) == {"one/manifest.yaml", "two/manifest.yaml"}
        await create(it, "three", path="two/../one")
        app = await it.until(lambda app: operation(app).get("phase") == "Failed", "three")
        assert "uses the same destination" in operation(app)["message"]


async def test_the_root_of_a_repository_is_not_written_to() -> None:
    async with scene() as it:
        it.sources.commit(config_map())
        for name, path in {"root": "x/..", "outside": "../x"}.items():
            await create(it, name, path=path)
            app = await it.until(lambda app: operation(app).get("phase") == "Failed", name)
            assert "not allowed" in operation(app)["message"]
        assert it.sources.pushed == []


async def test_a_dry_source_that_does_not_render_is_said() -> None:
    async with scene() as it:
        it.sources.problem = "no such path"
        await create(it)
        app = await it.until(lambda app: operation(app).get("phase") == "Failed")
        assert operation(app)["message"].endswith("no such path") and not it.sources.pushed


async def test_another_application_of_the_branch_that_goes_nowhere_is_said() -> None:
    async with scene() as it:
        it.sources.commit(config_map())
        nowhere = {"server": "https://nowhere.example.com", "namespace": "default"}
        await it.create("other", source=None, sourceHydrator=hydrated(path="other"), destination=nowhere)
        await create(it)
        app = await it.until(lambda app: operation(app).get("phase") == "Failed")
        assert "nowhere.example.com" in operation(app)["message"] and not it.sources.pushed
