"""The executor of the embedded node: what init and wait containers do elsewhere, done by the node's agent itself.

    pod annotations ─► stage: script, input artifacts ─► containers run, unwrapped ─► collect ─► WorkflowTaskResult

A ``PodExtension`` by its shape (``cluster/node/extension.py``); it knows nothing of the node. What it reads from the
pod and how it reports failures is in ``docs/decisions/0001-contracts.md``: staging that fails shows as a container
``init`` that ended with 64, collecting that fails as a container ``wait``, as the original's pods show it.

Where containers share this machine's files (``process``), output files that the step made go when the harvest is safe;
what was there before is the user's and stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import shutil
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tiphys.machinery.errors import ApiError
from tiphys.machinery.podlife import Ended, Exit, Failure, Harvest, InProcess, PodDirs, Staged
from tiphys.machinery.resources import ObjectKey
from tiphys.workflows.executor import data, deletion, inputs, outputs, pausing, progress, trees
from tiphys.workflows.executor.agent import TaskAgent
from tiphys.workflows.executor.artifact_plugins import PodPlugins
from tiphys.workflows.executor.artifacts import ArtifactDrivers, PluginPlace
from tiphys.workflows.executor.errors import ExecutorError, go_error, sentence
from tiphys.workflows.executor.plugins import Plugin
from tiphys.workflows.executor.template import (
    MAIN,
    MANIFEST,
    MIRROR,
    PROGRESS_FILE,
    VAR_RUN_ARGO,
    Manifest,
    clean,
    main_containers,
    overlapping_mount,
)
from tiphys.workflows.executor.trees import Place

if TYPE_CHECKING:
    from tiphys.workflows.executor.resource import ResourceExecutor

Object = Mapping[str, Any]
# (namespace, name) of a Secret → its entries.
FetchSecret = Callable[[str, str], Awaitable[Mapping[str, bytes]]]
# Secrets that were fetched, by (name, key), and the pod's artifact plugins → the drivers for a pod.
MakeDrivers = Callable[[Callable[[str, str], str], Mapping[str, PluginPlace]], ArtifactDrivers]
# Workflow and pod name → the location of artifacts that name none.
DefaultLocation = Callable[[str, str], Object]
# What carries out resource templates: made when the first one comes, since much of the machinery hangs on it.
MakeResources = Callable[[], "ResourceExecutor"]

_PREFIX = "workflows.argoproj.io"
TEMPLATE = f"{_PREFIX}/template"
CAPTURES = f"{_PREFIX}/include-script-output"
ARCHIVE = f"{_PREFIX}/archive-location"
DEADLINE = f"{_PREFIX}/deadline"
NODE_ID = f"{_PREFIX}/node-id"
LABEL_WORKFLOW = f"{_PREFIX}/workflow"
LABEL_COMPLETED = f"{_PREFIX}/report-outputs-completed"
LABEL_COMPONENT = f"{_PREFIX}/component"
AGENT, DELETER = "agent", "artifact-gc"
INIT = "init"
LABEL_INSTANCE = f"{_PREFIX}/controller-instanceid"
# Pods between staging and collecting whose annotations are kept parsed.
JOBS_MAX = 10_000
# The original's executor ends with this code when it fails.
EXIT_FAILED = 64
PROGRESS_VARIABLE = "ARGO_PROGRESS_FILE"


class DeletionTasks(Protocol):
    """The WorkflowArtifactGCTasks of the API. Raise ``ApiError``."""

    async def fetch(self, key: ObjectKey) -> Object: ...

    async def store(self, key: ObjectKey, status: Object) -> None:
        """Stores a task's status."""
        ...


class NativeExecutor:
    """Stages and collects the pods of workflows."""

    def __init__(
        self,
        make_drivers: MakeDrivers,
        default_location: DefaultLocation,
        secret: FetchSecret,
        resources: MakeResources | None = None,
        agent: TaskAgent | None = None,
        tasks: DeletionTasks | None = None,
    ) -> None:
        """``resources``, ``agent`` and ``tasks`` serve what needs no container; without them it is the runtime's."""
        self._make_drivers = make_drivers
        self._default_location = default_location
        self._secret = secret
        self._resources = resources
        self._agent = agent
        self._tasks = tasks
        self._jobs: dict[str, Job] = {}

    def claims(self, pod: Object) -> bool:
        return TEMPLATE in (pod["metadata"].get("annotations") or {}) or _component(pod) in (AGENT, DELETER)

    async def stage(self, pod: Object, dirs: PodDirs) -> Staged:
        if _component(pod) == AGENT:
            return self._stage_agent(pod, dirs)
        if _component(pod) == DELETER:
            return self._stage_deletion(pod, dirs)
        job = self._job(pod)
        wanted = _Wanted.of(job)
        mounts: list[tuple[Path, str, bool]] = []
        plugins = PodPlugins.of(pod, dirs)
        try:
            shown = plugins.mounts()
            if wanted.files:
                place = _private(dirs, job)
                drivers = await self._drivers(pod, job.template, plugins)
                mounts = await _in_thread(lambda: _stage_files(job.template, dirs, place, drivers))
            elif wanted.script:
                place = _private(dirs, job)
                inputs.write_staged_file(job.template, place)
                mounts = _script_mount(job.template, place)
        except (ExecutorError, OSError) as err:
            return Staged(failure=Failure(INIT, sentence(err)))
        paused = [c["name"] for c in pod["spec"]["containers"] if c["name"] in job.main and pausing.is_wanted(c)]
        if wanted.progress or paused:
            run = dirs.private / "run"
            run.mkdir(parents=True, exist_ok=True)
            for name in paused:
                pausing.make_place(run, name)
            mounts.append((run, VAR_RUN_ARGO, False))
        in_process = self._in_process(pod, dirs, job)
        if plugins and wanted.files:
            in_process = {**in_process, INIT: self._loading(pod, dirs, job, mounts)}
        return Staged(
            mounts=mounts,
            own_mounts=shown,
            helpers=plugins.containers,
            containers=job.main,
            split_output=frozenset({MAIN}) if job.captures else frozenset(),
            paths=job.output_paths | job.input_paths,
            claimed=None if dirs.isolated else partial(_look_at_paths, dirs.private, job),
            main=job.main,
            after=job.dependencies,
            wrappers={name: pausing.wrapper(name) for name in paused},
            env={PROGRESS_VARIABLE: PROGRESS_FILE} if wanted.progress else {},
            supervised=True,  # as the original's emissary does: process 1 would ignore what nobody handles
            umask=0 if dirs.isolated else None,  # steps of other users read what this one makes, as in the original
            deadline=job.deadline,
            in_process=in_process,
        )

    def _loading(self, pod: Object, dirs: PodDirs, job: Job, mounts: list[tuple[Path, str, bool]]) -> InProcess:
        """Loads what artifact plugins keep, once these are there, and adds it to ``mounts``."""

        async def work(_: Callable[[str], None]) -> Ended:
            try:
                place = _private(dirs, job)
                drivers = await self._drivers(pod, job.template, PodPlugins.of(pod, dirs))
                found = await _in_thread(lambda: _load_files(job.template, dirs, place, drivers, of_plugins=True))
            except ExecutorError as err:
                return Ended(EXIT_FAILED, str(err))
            mounts.extend(mount for mount in found if mount not in mounts)
            return Ended()

        return work

    def _in_process(self, pod: Object, dirs: PodDirs, job: Job) -> Mapping[str, InProcess]:
        """What needs no container of the user's: resource and data templates."""
        resources = self._resources
        if job.template.get("data") is not None:
            return {MAIN: self._data_work(pod, dirs, job)}
        if job.template.get("resource") is None or resources is None:
            return {}
        namespace, memory = pod["metadata"].get("namespace", ""), dirs.private / "resource.json"

        def manifest() -> Manifest:
            return _manifest(dirs, job)

        async def work(say: Callable[[str], None]) -> Ended:
            return await resources().run(job.template, namespace, manifest, memory, say)

        return {MAIN: work}

    def _data_work(self, pod: Object, dirs: PodDirs, job: Job) -> InProcess:
        async def work(_: Callable[[str], None]) -> Ended:
            try:
                drivers = await self._drivers(pod, job.template, PodPlugins.of(pod, dirs))
                result = await _in_thread(lambda: data.process(job.template, drivers))
            except ExecutorError as err:
                return Ended(EXIT_FAILED, str(err))
            return Ended(outputs={"result": result})

        return work

    def _stage_agent(self, pod: Object, dirs: PodDirs) -> Staged:
        """The agent beside its plugins, which find the token that it shows them in /var/run/argo."""
        agent, meta = self._agent, pod["metadata"]
        if agent is None:
            return Staged()
        sidecars = [container for container in pod["spec"]["containers"] if container["name"] != MAIN]
        token = _token(dirs.private / "run" / "token") if sidecars else ""
        plugins = [Plugin(f"http://localhost:{_port(container)}", token) for container in sidecars]
        workflow = ObjectKey(meta.get("namespace", ""), meta["labels"].get(LABEL_WORKFLOW, ""))
        owner: Object = next(iter(meta.get("ownerReferences") or ()), {})

        async def work(say: Callable[[str], None]) -> Ended:
            return await agent.run(workflow, say, uid=owner.get("uid", ""), plugins=plugins)

        return Staged(
            mounts=[(dirs.private / "run", VAR_RUN_ARGO, True)] if sidecars else (),
            main=frozenset((MAIN,)),
            in_process={MAIN: work},
        )

    def _stage_deletion(self, pod: Object, dirs: PodDirs) -> Staged:
        plugins = PodPlugins.of(pod, dirs)
        try:
            shown = plugins.mounts()
        except ExecutorError as err:
            return Staged(failure=Failure("init", str(err)))
        main, work = frozenset((MAIN,)), self._deletion(pod, plugins)
        return Staged(own_mounts=shown, containers=frozenset(), main=main, in_process={MAIN: work})

    def _deletion(self, pod: Object, plugins: PodPlugins) -> InProcess:
        """Deletes the artifacts of the tasks that own the pod."""
        meta = pod["metadata"]
        owners = [o["name"] for o in meta.get("ownerReferences") or () if o.get("kind") == "WorkflowArtifactGCTask"]
        tasks = self._tasks

        async def work(say: Callable[[str], None]) -> Ended:
            if tasks is None:
                return Ended(EXIT_FAILED, "this node deletes no artifacts")
            try:
                for name in owners:
                    key = ObjectKey(meta.get("namespace", ""), name)
                    task = await tasks.fetch(key)
                    drivers = await self._drivers(pod, task["spec"], plugins)
                    status = await _in_thread(partial(deletion.delete, task, drivers))
                    for failure in deletion.failures(status):
                        say(failure)
                    await tasks.store(key, status)
            except (ExecutorError, ApiError) as err:
                return Ended(EXIT_FAILED, str(err))
            return Ended()

        return work

    async def collect(self, pod: Object, dirs: PodDirs, exits: Mapping[str, Exit]) -> Harvest:
        plugins = PodPlugins.of(pod, dirs)
        if _component(pod) in (AGENT, DELETER):
            return Harvest(remove=plugins.outside())
        job = self._job(pod)
        played = next((end.outputs for end in exits.values() if end.outputs is not None), None)
        if played is not None:
            self._jobs.pop(pod["metadata"].get("uid", ""), None)
            return Harvest(objects=(_task_result(pod, job, dict(played)),))
        found = outputs.Collected({}, [])
        unprepared = INIT in exits and exits[INIT].code != 0 and bool(plugins)
        if job.reports and not unprepared:
            try:
                found = await self._collect(pod, dirs, job)
            except (ExecutorError, OSError) as err:
                found = outputs.Collected({}, [sentence(err)])
        self._jobs.pop(pod["metadata"].get("uid", ""), None)
        said = progress.read(dirs.private / "run" / "progress") if job.names_progress else ""
        remove = [] if dirs.isolated else [*_made_paths(dirs.private, job.output_paths), *plugins.outside()]
        objects = []
        if _says_something(found.outputs) or said:
            objects.append(_task_result(pod, job, found.outputs, said))
        failure = Failure("wait", found.errors[0]) if found.errors else None
        return Harvest(objects=objects, failure=failure, remove=remove)

    async def _collect(self, pod: Object, dirs: PodDirs, job: Job) -> outputs.Collected:
        drivers = await self._drivers(pod, job.template, PodPlugins.of(pod, dirs)) if job.stores else _NO_DRIVERS
        sources = _Sources(dirs, job)
        scratch = Place(dirs.private / "outputs", "/tmp/argo/outputs")

        def collect() -> outputs.Collected:
            return outputs.collect(job.template, sources, drivers, scratch, include_result=job.captures)

        return await _in_thread(collect) if job.stores else collect()

    def _job(self, pod: Object) -> Job:
        """What the pod asks, read once for both halves of its life."""
        uid = pod["metadata"].get("uid", "")
        job = self._jobs.pop(uid, None) or Job.of(pod, self._default_location)
        if len(self._jobs) < JOBS_MAX:
            self._jobs[uid] = job
        return job

    async def _drivers(self, pod: Object, places: Object, plugins: PodPlugins) -> ArtifactDrivers:
        """Drivers with the secrets that artifacts name anywhere in ``places``. Raises ``ExecutorError``."""
        known: dict[tuple[str, str], str] = {}
        for name, key in set(secret_references(places)):
            data = await self._secret(pod["metadata"].get("namespace", ""), name)
            if key not in data:
                raise ExecutorError(f"open /argo/secret/{name}/{key}: no such file or directory")
            known[name, key] = data[key].decode("utf-8", "replace")
        return self._make_drivers(lambda name, key: known[name, key], plugins.places())


@dataclass(frozen=True)
class Job:
    """What a pod asks of the executor. ``reports``: something is to be collected; ``stores``: artifacts."""

    template: Object
    node_id: str
    workflow: str
    captures: bool
    main: frozenset[str]
    input_paths: frozenset[str]
    output_paths: frozenset[str]
    dependencies: Mapping[str, Sequence[str]]
    deadline: datetime | None
    reports: bool
    stores: bool
    names_progress: bool

    @classmethod
    def of(cls, pod: Object, default_location: DefaultLocation) -> Job:
        meta = pod["metadata"]
        annotations = meta.get("annotations") or {}
        template: dict[str, Any] = json.loads(annotations[TEMPLATE])
        workflow = (meta.get("labels") or {}).get(LABEL_WORKFLOW, "")
        if ARCHIVE in annotations:
            template["archiveLocation"] = json.loads(annotations[ARCHIVE])
        own = template.get("archiveLocation") or {}
        if not own.keys() - {"archiveLogs"}:
            template["archiveLocation"] = {**default_location(workflow, meta["name"]), **own}
        declared = template.get("outputs") or {}
        parameters = [p["valueFrom"]["path"] for p in declared.get("parameters") or () if _path_of(p)]
        artifacts = [a["path"] for a in declared.get("artifacts") or () if a.get("path")]
        given = [a["path"] for a in (template.get("inputs") or {}).get("artifacts") or () if a.get("path")]
        members = (template.get("containerSet") or {}).get("containers") or ()
        captures = annotations.get(CAPTURES) == "true"
        stores = bool(artifacts or own.get("archiveLogs"))
        deadline = annotations.get(DEADLINE)
        in_process = template.get("resource") is not None or template.get("data") is not None
        return cls(
            template=template,
            node_id=annotations.get(NODE_ID, meta["name"]),
            workflow=workflow,
            captures=captures,
            main=frozenset(main_containers(template)),
            input_paths=frozenset(clean(path) for path in given),
            output_paths=frozenset(clean(path) for path in (*parameters, *artifacts)),
            dependencies={m["name"]: m["dependencies"] for m in members if m.get("dependencies")},
            deadline=datetime.fromisoformat(deadline) if deadline else None,
            reports=not in_process and (captures or stores or bool(declared.get("parameters"))),
            stores=stores,
            names_progress=any(word in annotations[TEMPLATE] for word in (PROGRESS_VARIABLE, VAR_RUN_ARGO)),
        )


@dataclass(frozen=True)
class _Wanted:
    """What must be made before the start; most steps want nothing."""

    files: bool
    script: bool
    progress: bool

    @classmethod
    def of(cls, job: Job) -> _Wanted:
        given = (job.template.get("inputs") or {}).get("artifacts")
        return cls(bool(given), inputs.staged_file(job.template) is not None, job.names_progress)


@dataclass(frozen=True)
class _Sources:
    """Where this machine sees what the pod's main container left."""

    dirs: PodDirs
    job: Job

    def volume(self, path: str) -> Place:
        shown = clean(f"{MIRROR}/{path}")
        for artifact in (self.job.template.get("inputs") or {}).get("artifacts") or ():
            top = artifact.get("path") or ""
            in_volume = overlapping_mount(self.job.template, top) is not None
            if not in_volume and (path == top or path.startswith(f"{top}/")):
                where = self.dirs.private / "files" / inputs.staged_path(artifact, self.job.template).lstrip("/")
                return Place(_below(where, path[len(top) :].lstrip("/")), shown, exact=self.dirs.isolated)
        return self._seen(path, shown)

    def parameter(self, path: str) -> Place:
        return self._seen(path, clean(f"{VAR_RUN_ARGO}/outputs/parameters/{path}"))

    def packed(self, path: str) -> Place | None:
        """Never packed; but a missing file is missed by the name under which the original misses it."""
        place = self._seen(path, path)
        if place.real.exists():
            return None
        return Place(_NOWHERE, clean(f"{VAR_RUN_ARGO}/outputs/artifacts/{path.removesuffix('/')}.tgz"))

    def unpacked(self, path: str) -> Place:
        return self._seen(path, path)

    def stdout(self) -> Place:
        files = self.dirs.log_files(MAIN)
        return Place(files[0] if files else _NOWHERE, f"{VAR_RUN_ARGO}/ctr/{MAIN}/stdout")

    def log(self, container: str) -> Place:
        """The whole log: standard output, then standard error where they were kept apart."""
        files = [file for file in self.dirs.log_files(container) if file.exists()]
        shown = f"{VAR_RUN_ARGO}/ctr/{container}/combined"
        if len(files) < 2:
            return Place(files[0] if files else _NOWHERE, shown)
        both = self.dirs.private / f"{container}.combined"
        with both.open("wb") as target:
            for file in files:
                with file.open("rb") as source:
                    shutil.copyfileobj(source, target)
        return Place(both, shown)

    def _seen(self, path: str, shown: str) -> Place:
        container = MAIN if MAIN in self.job.main else next(iter(self.job.main))
        return Place(self.dirs.host_path(container, clean(path)) or _NOWHERE, shown, exact=self.dirs.isolated)


_NOWHERE = Path("/nonexistent/nowhere")


class _NoDrivers:
    def driver_for(self, artifact: Object) -> Any:
        raise ExecutorError(f"Unsupported artifact driver for {artifact.get('name', '')}")


_NO_DRIVERS = _NoDrivers()


def _private(dirs: PodDirs, job: Job) -> Callable[[str], Place]:
    """The executor's own paths lie in the pod's private directory, those of the user's volumes in the volumes."""
    main = MAIN if MAIN in job.main else next(iter(job.main))

    def place(path: str) -> Place:
        if path.startswith(f"{MIRROR}/"):
            real = dirs.volume(main, path.removeprefix(MIRROR))
            if real is None:
                raise ExecutorError(f"{path} leads out of its volume")
            return Place(real, path, exact=dirs.isolated)
        return Place(dirs.private / "files" / path.lstrip("/"), path)

    return place


def _stage_files(
    template: Object, dirs: PodDirs, place: Callable[[str], Place], drivers: ArtifactDrivers
) -> list[tuple[Path, str, bool]]:
    """Everything that is staged before the containers start, and what a plugin has loaded already."""
    mounts = _load_files(template, dirs, place, drivers, of_plugins=False)
    if (dirs.private / _STAGED_BY_PLUGINS).exists():
        mounts += _load_files(template, dirs, place, drivers, of_plugins=True)
    return [*mounts, *_script_mount(template, place)]


_STAGED, _STAGED_BY_PLUGINS = "staged.json", "staged-by-plugins.json"


def _load_files(
    template: Object, dirs: PodDirs, place: Callable[[str], Place], drivers: ArtifactDrivers, *, of_plugins: bool
) -> list[tuple[Path, str, bool]]:
    """Input artifacts and a script, once: a restarted agent must not undo what the containers did to their inputs."""
    done = dirs.private / (_STAGED_BY_PLUGINS if of_plugins else _STAGED)
    if done.exists():
        found = json.loads(done.read_text(encoding="utf-8"))
    else:
        if not of_plugins:
            shutil.rmtree(dirs.private / "files", ignore_errors=True)
        found = inputs.load_artifacts(template, place, drivers, of_plugins=of_plugins)
        if not of_plugins:
            inputs.write_staged_file(template, place)
        done.parent.mkdir(parents=True, exist_ok=True)
        done.write_text(json.dumps(found), encoding="utf-8")
    return [(place(where).real, path, False) for path, where in found.items() if not where.startswith(MIRROR)]


def _script_mount(template: Object, place: Callable[[str], Place]) -> list[tuple[Path, str, bool]]:
    staged = inputs.staged_file(template)
    return [] if staged is None else [(place(staged[0]).real, staged[0], False)]


def _manifest(dirs: PodDirs, job: Job) -> Manifest:
    """A resource template's manifest: its own text, or an input artifact's. Raises ``ExecutorError``."""
    resource = job.template["resource"]
    wanted = (resource.get("manifestFrom") or {}).get("artifact")
    if not wanted:
        return Manifest(str(resource.get("manifest") or ""), MANIFEST)
    given = (job.template.get("inputs") or {}).get("artifacts") or ()
    path = next((a.get("path", "") for a in given if a.get("name") == wanted.get("name")), MANIFEST)
    try:
        with trees.open_file(_Sources(dirs, job).volume(path)) as file:
            return Manifest(file.read().decode("utf-8"), path)
    except OSError as err:
        raise go_error("open", path, err) from err


def _below(top: Path, rest: str) -> Path:
    """A path below a staged artifact, not led out by links in it."""
    top, place = top.resolve(), (top / rest).resolve()
    return place if place.is_relative_to(top) else _NOWHERE


def _component(pod: Object) -> str:
    """What a pod is for that is no step's (``plan/pods/agent.py``, ``plan/pods/artifact_gc.py``)."""
    return str((pod["metadata"].get("labels") or {}).get(LABEL_COMPONENT, ""))


def _token(file: Path) -> str:
    """The agent's token, made at its first start."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(0o644)
        file.write_text(secrets.token_urlsafe(24), encoding="utf-8")
    return file.read_text(encoding="utf-8")


def _port(container: Object) -> int:
    ports = container.get("ports") or ()
    return int(ports[0].get("containerPort") or 0) if ports else 0


def _path_of(parameter: Object) -> str:
    return str((parameter.get("valueFrom") or {}).get("path") or "")


def _says_something(found: Object) -> bool:
    return any(found.get(name) is not None for name in ("parameters", "artifacts", "result"))


def _task_result(pod: Object, job: Job, found: Object, said: str = "") -> dict[str, Any]:
    meta = pod["metadata"]
    labels = {LABEL_WORKFLOW: job.workflow, LABEL_COMPLETED: "true"}
    instance = (meta.get("labels") or {}).get(LABEL_INSTANCE)
    if instance:
        labels[LABEL_INSTANCE] = instance
    owners = [
        {key: owner[key] for key in ("apiVersion", "kind", "name", "uid")}
        for owner in meta.get("ownerReferences") or ()
        if owner.get("kind") == "Workflow"
    ]
    made: dict[str, Any] = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "WorkflowTaskResult",
        "metadata": {
            "name": job.node_id,
            "namespace": meta.get("namespace", ""),
            "labels": labels,
            "ownerReferences": owners,
        },
        "outputs": found,
    }
    if said:
        made["progress"] = said
    return made


def _refuse_others_directories(template: Object) -> None:
    """Where paths are this machine's, a directory that is there already is not the step's to hand out."""
    for artifact in (template.get("outputs") or {}).get("artifacts") or ():
        path = artifact.get("path") or ""
        if overlapping_mount(template, path) is None and Path(path).is_dir():
            raise ExecutorError(
                f"output artifact '{artifact.get('name', '')}': {path} is a directory of this machine; the process"
                " runtime does not hand out what was there before the step; use --runtime sandbox"
            )


T = TypeVar("T")


async def _in_thread(work: Callable[[], T]) -> T:
    """Like ``asyncio.to_thread``, but the program's end does not wait for an archive that nobody wants any more."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, err: BaseException | None) -> None:
        if done.cancelled():
            return
        if err is not None:
            done.set_exception(err)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except (ExecutorError, OSError, ValueError) as err:
            failure = err
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(tell, result, failure or sys.exception())

    threading.Thread(target=run, name="tiphys-artifacts", daemon=True).start()
    return await done


_NOT_ARTIFACTS = ("container", "script", "containerSet", "sidecars", "initContainers", "volumes")


def secret_references(value: Any) -> Iterable[tuple[str, str]]:
    """Every (name, key) in fields called …Secret of a template's artifacts.

    Those of an S3 without endpoint are not needed: the place of its artifact is the repository's, or local.
    """
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name.endswith("Secret") and isinstance(inner, Mapping) and inner.get("name") and inner.get("key"):
                yield inner["name"], inner["key"]
            elif name not in _NOT_ARTIFACTS and not (name == "s3" and not (inner or {}).get("endpoint")):
                yield from secret_references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from secret_references(inner)


def _look_at_paths(private: Path, job: Job) -> Failure | None:
    """What lies at the step's paths now belongs to this machine; not before, when it may still be another step's."""
    try:
        _refuse_others_directories(job.template)
    except ExecutorError as err:
        return Failure(INIT, str(err))
    if job.output_paths:
        _note_what_is_there(private, job.output_paths)
    return None


def _note_what_is_there(private: Path, paths: Iterable[str]) -> None:
    """Remembers which output paths exist before the step: those are the user's."""
    note = private / "there-before.json"
    if not note.exists():
        private.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(sorted(p for p in paths if Path(p).exists())), encoding="utf-8")


def _made_paths(private: Path, paths: Iterable[str]) -> list[Path]:
    """The output paths that were not there before the step."""
    note = private / "there-before.json"
    if not note.exists():
        return []
    before = set(json.loads(note.read_text(encoding="utf-8")))
    return [Path(path) for path in sorted(set(paths) - before)]
