"""Applications: from a commit to Synced, many small ones, one big one. Git, renderer, controller and API server are
the real ones, in one process; the commit is told of by a refresh, as a webhook would.
"""

from __future__ import annotations

import asyncio
import gc
import random
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks._rows import Row
from tiphys.app.cd import RegistryKinds
from tiphys.app.compose import GC_THRESHOLDS, World, api_server
from tiphys.cd.caches import APPLICATIONS
from tiphys.cd.controller import ApplicationController
from tiphys.cd.settings import ControllerSettings
from tiphys.cd.sources.artifacts import ArtifactStore
from tiphys.cd.sources.charts import ChartStore
from tiphys.cd.sources.fetching import Stores
from tiphys.cd.sources.git import GitStore
from tiphys.cd.sources.github_app import GitHubApps
from tiphys.cd.sources.renderer import SourceRenderer
from tiphys.cd.sources.workers import RenderPool
from tiphys.client.client import Client
from tiphys.machinery.actions import Emit
from tiphys.machinery.resources import NAMESPACES, ObjectKey
from tiphys.runtime.clock import SystemClock

MANY = 1_000
COMMITS = 15
_AUTOMATED = {"automated": {"prune": True, "selfHeal": True}}


def rows() -> Iterator[Row]:
    gc.set_threshold(*GC_THRESHOLDS)
    yield Row("GitOps: commit to Synced, three objects", "ms", asyncio.run(_commits(_plain)), 100, 30)
    yield Row("GitOps: commit to Synced, a chart", "ms", asyncio.run(_commits(_chart)), 100, 30)
    yield Row("GitOps: commit to Synced, Jsonnet", "ms", asyncio.run(_commits(_jsonnet)), 100, 30)
    if shutil.which("kubectl"):
        taken = asyncio.run(_commits(_kustomization))
        yield Row("GitOps: commit to Synced, a kustomization by kubectl", "ms", taken, 200, 150)
    rate, idle, memory = asyncio.run(_many_applications())
    yield Row(f"GitOps: first sync of {MANY} one-object applications", "1/s", rate, 100, 300, more_is_better=True)
    yield Row(f"GitOps: comparison again of {MANY} applications, CPU each", "ms", idle, 2, 1)
    yield Row("GitOps: memory per application, its objects and the API server's copies included", "KB", memory, 60, 40)
    first, again = asyncio.run(_big_application())
    yield Row(f"GitOps: first sync of an application of {MANY} objects", "s", first, 5, 2)
    yield Row(f"GitOps: comparison of an application of {MANY} objects", "ms", again, 150, 75)


@dataclass
class Scene:
    client: Client
    controller: ApplicationController
    repository: Path

    def commit(self, files: Mapping[str, str]) -> str:
        for name, text in files.items():
            place = self.repository / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "change")
        return self.git("rev-parse", "HEAD").strip()

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
        argv = ["git", "-C", str(self.repository), *who, *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    async def create(self, name: str, path: str) -> None:
        spec = {
            "project": "default",
            "source": {"repoURL": str(self.repository), "path": path},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "default"},
            "syncPolicy": _AUTOMATED,
        }
        await self.client.create(APPLICATIONS, {"metadata": {"name": name, "namespace": "argocd"}, "spec": spec})

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(120):
            while not holds():  # noqa: ASYNC110 - what is measured tells nobody of its end
                await asyncio.sleep(0.001)

    def is_synced(self, revision: str, name: str) -> bool:
        app = self.controller.caches.applications.get(ObjectKey("argocd", name))
        status = (app or {}).get("status") or {}
        sync = status.get("sync") or {}
        done = (status.get("operationState") or {}).get("phase") == "Succeeded"
        return done and sync.get("status") == "Synced" and sync.get("revision") == revision


async def _commits(files: Callable[[int], Mapping[str, str]]) -> float:
    """Milliseconds from the end of ``git commit`` until the status says Synced at it."""
    async with _scene() as scene:
        revision = scene.commit(files(0))
        running = asyncio.create_task(scene.controller.run())
        await scene.create("app", ".")
        await scene.until(lambda: scene.is_synced(revision, "app"))
        taken = []
        for number in range(1, COMMITS + 1):
            revision = scene.commit(files(number))
            began = time.perf_counter()
            asked = {"metadata": {"annotations": {"argocd.argoproj.io/refresh": "normal"}}}
            await scene.client.patch(APPLICATIONS, ObjectKey("argocd", "app"), asked)
            await scene.until(lambda revision=revision: scene.is_synced(revision, "app"))  # type: ignore[misc]
            taken.append((time.perf_counter() - began) * 1e3)
        running.cancel()
        await asyncio.wait([running])
        return statistics.median(taken)


_NAMES = ("one", "two", "three")


def _plain(number: int) -> dict[str, str]:
    """Three objects as YAML."""
    return {f"{name}.yaml": _config_map(name, number) for name in _NAMES}


def _chart(number: int) -> dict[str, str]:
    """Three objects of a chart, of which the values change."""
    templates = {f"templates/{name}.yaml": _config_map(name, "{{ .Values.number }}") for name in _NAMES}
    chart = "apiVersion: v2\nname: bench\nversion: 1.0.0\n"
    return {"Chart.yaml": chart, "values.yaml": f"number: {number}\n", **templates}


def _jsonnet(number: int) -> dict[str, str]:
    """Three objects of one program."""
    made = f"{{apiVersion: 'v1', kind: 'ConfigMap', metadata: {{name: n}}, data: {{number: '{number}'}}}}"
    return {"all.jsonnet": f"[{made} for n in {list(_NAMES)}]"}


def _kustomization(number: int) -> dict[str, str]:
    """Three objects of a kustomization with a patch that changes."""
    patches = "patches: [{target: {kind: ConfigMap}, path: patch.yaml}]\n"
    patch = f"- {{op: replace, path: /data/number, value: '{number}'}}\n"
    listed = f"resources: [{', '.join(f'{name}.yaml' for name in _NAMES)}]\n"
    return {"kustomization.yaml": listed + patches, "patch.yaml": patch, **_plain(0)}


async def _many_applications() -> tuple[float, float, float]:
    """Applications per second, CPU milliseconds of another comparison of each, kilobytes of each."""
    async with _scene() as scene:
        names = [f"app-{number}" for number in range(MANY)]
        revision = scene.commit({f"{name}/one.yaml": _config_map(name, 0) for name in names})
        for name in names:
            await scene.create(name, name)
        gc.collect()
        before, began = _memory(), time.perf_counter()
        running = asyncio.create_task(scene.controller.run())
        await scene.until(lambda: all(scene.is_synced(revision, name) for name in reversed(names)))
        rate = MANY / (time.perf_counter() - began)
        await scene.until(lambda: scene.controller.idle)
        gc.collect()
        memory = (_memory() - before) / MANY
        cpu = time.process_time()
        scene.controller.look_at_all()
        await scene.until(lambda: scene.controller.idle)
        idle = (time.process_time() - cpu) / MANY * 1e3
        running.cancel()
        await asyncio.wait([running])
        return rate, idle, memory


async def _big_application() -> tuple[float, float]:
    """Seconds of the first sync, milliseconds of a comparison after it."""
    async with _scene() as scene:
        revision = scene.commit({f"{number}.yaml": _config_map(f"big-{number}", 0) for number in range(MANY)})
        began = time.perf_counter()
        running = asyncio.create_task(scene.controller.run())
        await scene.create("app", ".")
        await scene.until(lambda: scene.is_synced(revision, "app"))
        first = time.perf_counter() - began
        await scene.until(lambda: scene.controller.idle)
        taken = []
        for _ in range(5):
            began = time.perf_counter()
            scene.controller.look_at_all()
            await scene.until(lambda: scene.controller.idle)
            taken.append((time.perf_counter() - began) * 1e3)
        running.cancel()
        await asyncio.wait([running])
        return first, statistics.median(taken)


@asynccontextmanager
async def _scene() -> AsyncIterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="tiphys-bench-") as folder:
        place = Path(folder)
        repository = place / "repository"
        subprocess.run(["git", "init", "--quiet", "-b", "main", str(repository)], check=True)  # noqa: ASYNC221 - before anything is measured
        async with api_server(World()) as server, aiohttp.ClientSession() as session:
            client, clock = Client(server.transport()), SystemClock()
            await client.create(NAMESPACES, {"metadata": {"name": "argocd"}})
            pool = RenderPool(clock, place / "renders")
            stores = Stores(
                GitStore(place / "git"),
                ChartStore(place / "charts", session),
                ArtifactStore(place / "artifacts", clock),
                GitHubApps(session, clock),
            )
            renderer = SourceRenderer(stores, pool)
            settings = ControllerSettings()
            controller = ApplicationController(
                client, RegistryKinds(server.registry), renderer, settings,
                clock=clock, rng=random.Random(1), events=_NoEvents(),
            )  # fmt: skip
            yield Scene(client, controller, repository)
            await renderer.close()


def _config_map(name: str, number: int | str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{number: '{number}'}}\n"


def _memory() -> float:
    """Resident kilobytes now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * resource.getpagesize() / 1024


class _NoEvents:
    def emit(self, event: Emit) -> None:
        pass
