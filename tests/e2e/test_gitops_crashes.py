"""kill -9 of ``tiphys up`` in every phase of a sync: before its hook, in it, between its waves, at its end.

Each commit brings hooks that write a line when they run, into a file that is not part of the cluster, and loses an
object that the commit before it had. Whenever the server is killed: the new commit is reached, each hook has run once,
what Git lost is gone, and what Git never had or wants kept is there.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_crashes import Victim
from tiphys.cd.caches import APPLICATIONS
from tiphys.client.client import Client
from tiphys.machinery.resources import CONFIG_MAPS, NAMESPACES, ObjectKey

MOMENTS = (0.02, 0.1, 0.2, 0.35, 0.5, 0.8, 1.2)
FEW = (0.2, 0.5)
"""Seconds from the refresh to the kill; a sync takes about a second."""

SECONDS_MAX = 60.0
KEY = ObjectKey("argocd", "app")

pytestmark = pytest.mark.e2e


def config_map(name: str, **annotations: str) -> dict[str, Any]:
    marks = {f"argocd.argoproj.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    metadata = {"name": name, "namespace": "default", "annotations": marks}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"of": name}}


def hook(phase: str, number: int, effects: Path) -> dict[str, Any]:
    script = f"echo {phase} {number} >> {effects}; sleep 0.2"
    container = {"name": "main", "image": "busybox", "command": ["sh", "-c", script]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    metadata = {"name": phase.lower(), "annotations": {"argocd.argoproj.io/hook": phase}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata}
    return {**job, "spec": {"backoffLimit": 0, "template": template}}


class Repository:
    def __init__(self, place: Path, effects: Path) -> None:
        self.place, self.effects = place, effects
        subprocess.run(["git", "init", "--quiet", "-b", "main", str(place)], check=True)

    def commit(self, number: int) -> str:
        """Two waves, of which the first has an object that only this commit knows."""
        objects = [
            hook("PreSync", number, self.effects),
            config_map(f"only-{number}"),
            config_map("always", sync_wave="1"),
            hook("PostSync", number, self.effects),
        ]
        if number == 0:
            objects.append(config_map("kept", sync_options="Prune=false"))
        (self.place / "all.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", str(number))
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *arguments: str) -> str:
        who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        argv = ["git", "-C", str(self.place), *who, *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def application(url: str) -> dict[str, Any]:
    spec = {
        "project": "default",
        "source": {"repoURL": url, "path": "."},
        "destination": {"server": "https://kubernetes.default.svc", "namespace": "default"},
        "syncPolicy": {"automated": {"prune": True, "selfHeal": True}, "retry": {"limit": 5}},
    }
    return {"metadata": {"name": KEY.name, "namespace": KEY.namespace}, "spec": spec}


async def until(client: Client, holds: Callable[[Mapping[str, Any]], bool]) -> None:
    """Watches the application, from anew where the watch ends."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            selector = f"metadata.name={KEY.name}"
            listed = await client.list(APPLICATIONS, KEY.namespace, fieldSelector=selector)
            if any(map(holds, listed["items"])):
                return
            version = listed["metadata"]["resourceVersion"]
            query = {"fieldSelector": selector, "resourceVersion": version}
            async with client.watch(APPLICATIONS, KEY.namespace, **query) as events:
                async for event in events:
                    if holds(event.object):
                        return


def is_done_at(revision: str) -> Callable[[Mapping[str, Any]], bool]:
    def holds(app: Mapping[str, Any]) -> bool:
        status = app.get("status") or {}
        synced, state = status.get("sync") or {}, status.get("operationState") or {}
        result = (state.get("syncResult") or {}).get("revision")
        is_over = state.get("phase") == "Succeeded" and "operation" not in app
        return is_over and result == revision and synced.get("revision") == revision

    return holds


async def first(victim: Victim, repository: Repository) -> None:
    async with victim.client() as client:
        await client.create(CONFIG_MAPS, config_map("bystander"))
        revision = repository.commit(0)
        await client.create(NAMESPACES, {"metadata": {"name": KEY.namespace}})
        await client.create(APPLICATIONS, application(str(repository.place)))
        await until(client, is_done_at(revision))


async def killed(victim: Victim, repository: Repository, number: int, moment: float) -> None:
    revision = repository.commit(number)
    async with victim.client() as client:
        await client.patch(APPLICATIONS, KEY, {"metadata": {"annotations": {"argocd.argoproj.io/refresh": "normal"}}})
    await asyncio.sleep(moment)  # the moment of the kill is the point
    victim.kill()
    victim.start()
    async with victim.client() as client:
        await client.patch(APPLICATIONS, KEY, {"metadata": {"annotations": {"argocd.argoproj.io/refresh": "normal"}}})
        await until(client, is_done_at(revision))
        found = await client.list(CONFIG_MAPS, "default")
    names = {each["metadata"]["name"] for each in found["items"]} - {"kube-root-ca.crt"}
    assert names == {"bystander", "kept", "always", f"only-{number}"}, f"killed after {moment}s"


@pytest.mark.parametrize("moments", [FEW, pytest.param(MOMENTS, marks=pytest.mark.slow)], ids=["few", "all"])
def test_a_kill_in_every_phase(moments: tuple[float, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIPHYS_NETWORK", "host")  # the bridge belongs to one cluster of the machine
    effects = tmp_path / "effects"
    repository = Repository(tmp_path / "repository", effects)
    victim = Victim(tmp_path / "data")
    victim.start()
    try:
        asyncio.run(first(victim, repository))
        for number, moment in enumerate(moments, 1):
            asyncio.run(killed(victim, repository, number, moment))
    finally:
        victim.kill()
    expected = Counter(f"{phase} {n}" for n in range(len(moments) + 1) for phase in ("PreSync", "PostSync"))
    assert Counter(effects.read_text().split("\n")[:-1]) == expected
