"""After the containers ended: the result, output parameters, artifacts and logs, as a node's ``outputs``.

The same rules serve two kinds of pods. In the original's pod a helper in every container copies what lies in the
container's own file system to a shared volume, and the wait container reads it there (``SharedVolume``). On the
embedded node the agent reads the container's files itself (``workflows/executor/native.py``).

What cannot be collected is an error with the original's words; the first one becomes the node's message, whatever else
could be collected is reported all the same. Source: argoexec wait (workflow/executor/executor.go, postmain.go).
"""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tiphys.workflows.executor import archives, locations, trees
from tiphys.workflows.executor.artifacts import ArtifactDrivers
from tiphys.workflows.executor.errors import ExecutorError, go_error, sentence
from tiphys.workflows.executor.template import (
    MAIN,
    MIRROR,
    VAR_RUN_ARGO,
    any_string,
    clean,
    clean_artifact_path,
    has_result,
    main_containers,
    overlapping_mount,
)
from tiphys.workflows.executor.trees import Place
from tiphys.workflows.plan.artifacts import has_location

Object = Mapping[str, Any]
RESULT_BYTES_MAX = 256 * 1024
# What an API server takes as one request (apiserver's --max-request-bytes by default); no bound in the original.
PARAMETER_BYTES_MAX = 3 << 20


class Sources(Protocol):
    """Where the outputs of a pod's containers are."""

    def volume(self, path: str) -> Place:
        """``path`` of the main container, which lies in a volume (or an input artifact)."""
        ...

    def parameter(self, path: str) -> Place:
        """The main container's file ``path``, outside volumes."""
        ...

    def packed(self, path: str) -> Place | None:
        """``path`` of the main container, outside volumes, already as tar.gz; None: take ``unpacked``."""
        ...

    def unpacked(self, path: str) -> Place: ...

    def stdout(self) -> Place:
        """The main container's standard output."""
        ...

    def log(self, container: str) -> Place:
        """Standard output and error of a container."""
        ...


@dataclass(frozen=True)
class Collected:
    """``outputs`` in the shape of the API; ``errors`` in the order in which they came up."""

    outputs: dict[str, Any]
    errors: list[str]


def collect(
    template: Object,
    sources: Sources,
    drivers: ArtifactDrivers,
    scratch: Place,
    *,
    include_result: bool,
    inputs_only: bool = False,
) -> Collected:
    """Collects everything. ``scratch`` is where archives are made (the original's /tmp/argo/outputs).

    ``inputs_only``: staging failed, the containers never ran; of them only logs are collected.
    """
    return _Collector(template, sources, drivers, scratch).collect(include_result, inputs_only)


@dataclass
class _Collector:
    template: Object
    sources: Sources
    drivers: ArtifactDrivers
    scratch: Place
    errors: list[str] = field(default_factory=list)

    def collect(self, include_result: bool, inputs_only: bool) -> Collected:
        declared = self.template.get("outputs") or {}
        outputs: dict[str, Any] = {name: value for name, value in declared.items() if name != "artifacts"}
        artifacts: list[Object] = []
        if self.template.get("resource") is not None:
            outputs = {}
        elif not inputs_only:
            if include_result and has_result(self.template):
                self._try(self._save_result, outputs)
            self._try(self._save_parameters, outputs)
            artifacts = self._save_artifacts()
        artifacts += self._save_logs()
        if artifacts:
            outputs["artifacts"] = artifacts
        return Collected(outputs, self.errors)

    def _try(self, step: Callable[[dict[str, Any]], None], outputs: dict[str, Any]) -> None:
        try:
            step(outputs)
        except (ExecutorError, OSError) as err:
            self.errors.append(sentence(err))

    def _save_result(self, outputs: dict[str, Any]) -> None:
        """Standard output without one newline at its end, at most the last 256 KiB."""
        place = self.sources.stdout()
        text = _read_tail(place, RESULT_BYTES_MAX + 1)
        text = text.removesuffix(b"\n")[-RESULT_BYTES_MAX:]
        outputs["result"] = text.decode("utf-8", "replace")

    def _save_parameters(self, outputs: dict[str, Any]) -> None:
        """In order; the first that is missing and has no default ends it, those before keep their values."""
        parameters = list(outputs.get("parameters") or ())
        for index, parameter in enumerate(parameters):
            source = parameter.get("valueFrom") or {}
            path = source.get("path")
            if not path:
                continue
            try:
                value = self._parameter(path)
            except ExecutorError:
                if source.get("default") is None:
                    raise
                value = any_string(source["default"]).encode()
            if len(value) > PARAMETER_BYTES_MAX:
                said = f"output parameter {parameter.get('name', '')}: {path} has more than {PARAMETER_BYTES_MAX} bytes"
                raise ExecutorError(f"{said}, which no object of the API can hold; store it as an artifact")
            parameters[index] = {**parameter, "value": value.decode("utf-8", "replace").removesuffix("\n")}
            outputs["parameters"] = parameters

    def _parameter(self, path: str) -> bytes:
        place = self.sources.parameter(path) if self._in_base_layer(path) else self.sources.volume(path)
        try:
            with trees.open_file(place) as file:
                return file.read(PARAMETER_BYTES_MAX + 1)
        except IsADirectoryError as err:
            raise go_error("read", place.shown, err) from err
        except OSError as err:
            raise go_error("open", place.shown, err) from err

    def _in_base_layer(self, path: str) -> bool:
        """Whether the path lies in the container's own file system, not in a volume or an input artifact."""
        if overlapping_mount(self.template, path) is not None:
            return False
        for artifact in (self.template.get("inputs") or {}).get("artifacts") or ():
            if path == artifact.get("path"):
                given = has_location(artifact) or locations.has_key(artifact)
                return bool(artifact.get("optional")) and not given
            if path.startswith(f"{artifact.get('path')}/"):
                return False
        return True

    def _save_artifacts(self) -> list[Object]:
        """Every artifact is tried; all that went wrong is one error."""
        saved: list[Object] = []
        wrong: list[str] = []
        for artifact in (self.template.get("outputs") or {}).get("artifacts") or ():
            try:
                kept = self._save_artifact(artifact)
            except (ExecutorError, OSError) as err:
                wrong.append(f"{sentence(err)}; ")
                continue
            if kept is not None:
                saved.append(kept)
        if wrong:
            self.errors.append("".join(wrong))
        return saved

    def _save_artifact(self, artifact: Object) -> Object | None:
        """None: optional and not there."""
        artifact = {**artifact, "path": clean_artifact_path(artifact)}
        try:
            file_name, place = self._stage(artifact)
        except ExecutorError as err:
            if artifact.get("optional") and err.missing:
                return None
            raise
        try:
            place.real.stat()
        except OSError as err:
            raise go_error("stat", place.shown, err) from err
        return self._save(artifact, file_name, place)

    def _save(self, artifact: Object, file_name: str, place: Place) -> Object:
        """Hands the file to its store; returns the artifact with its key."""
        default = self.template.get("archiveLocation")
        if not locations.has_key(artifact):
            artifact = locations.with_default_key(artifact, default, file_name)
        located = locations.relocate(artifact, default)
        self.drivers.driver_for(located).save(place, located)
        return artifact

    def _stage(self, artifact: Object) -> tuple[str, Place]:
        """(file name for the key, the file or directory to save)."""
        path = artifact["path"]
        if not self._in_base_layer(path):
            return self._pack(artifact, self.sources.volume(path))
        packed = self.sources.packed(path)
        if packed is None:
            source = self.sources.unpacked(path)
            return self._pack(artifact, source, artifact["name"] if source.real.is_dir() else posixpath.basename(path))
        return self._stage_packed(artifact, packed)

    def _pack(self, artifact: Object, source: Place, zip_name: str = "") -> tuple[str, Place]:
        """From files that can be read directly."""
        archive = artifact.get("archive") or {"tar": {}}
        name = artifact["name"]
        if archive.get("none") is not None:
            if not source.real.exists():
                raise ExecutorError(f"{artifact['path']} no such file or directory", missing=True)
            base = posixpath.basename(artifact["path"])
            return base, self._held(source, name, base) if source.exact else source
        if archive.get("zip") is not None:
            target = self._scratch_file(f"{name}.zip")
            with archives.create(target) as file:
                archives.zip_up(source, file, zip_name)
            return f"{name}.zip", target
        tar = archive.get("tar")
        level = 0 if tar is None else tar.get("compressionLevel")
        target = self._scratch_file(f"{name}.tgz")
        with archives.create(target) as file:
            archives.tar_gz(source, file, level)
        return f"{name}.tgz", target

    def _stage_packed(self, artifact: Object, packed: Place) -> tuple[str, Place]:
        """From a tar.gz that the container's helper made; any other form is made from its content."""
        name, archive = artifact["name"], artifact.get("archive") or {"tar": {}}
        target = self._scratch_file(f"{name}.tgz")
        try:
            with packed.real.open("rb") as source, archives.create(target) as copy:
                shutil.copyfileobj(source, copy, trees.CHUNK)
        except FileNotFoundError as err:
            raise go_error("open", packed.shown, err, missing=True) from err
        if archive.get("tar") is not None:
            return f"{name}.tgz", target
        content = self._scratch_file(name)
        archives.untar(target, content)
        target.real.unlink()
        base = posixpath.basename(artifact["path"])
        if content.real.is_dir():
            place = content
        else:  # the file's own name tells a store its type, and ends its key
            place = self._scratch_file(base)
            os.rename(content.real, place.real)
        if archive.get("zip") is None:
            return base, place
        zipped = self._scratch_file(f"{name}.zip")
        with archives.create(zipped) as file:
            archives.zip_up(content, file)
        return f"{name}.zip", zipped

    def _held(self, source: Place, name: str, base: str) -> Place:
        """For stores, which read by path: the same where no container can exchange anything."""
        held = self._scratch_file(f"{name}.plain") / base
        held.real.parent.mkdir()
        try:
            trees.copy(source, held.real)
        except OSError as err:
            raise go_error("open", source.shown, err) from err
        return held

    def _scratch_file(self, name: str) -> Place:
        place = self.scratch / "artifacts" / name
        place.real.parent.mkdir(parents=True, exist_ok=True)
        return place

    def _save_logs(self) -> list[Object]:
        """The logs of the main containers, where the template's location asks for them."""
        if not (self.template.get("archiveLocation") or {}).get("archiveLogs"):
            return []
        saved: list[Object] = []
        for container in main_containers(self.template):
            place = self.sources.log(container)
            copy = self.scratch / "logs" / f"{container}.log"
            copy.real.parent.mkdir(parents=True, exist_ok=True)
            with archives.create(copy) as target:
                if not place.real.exists():  # killed before its command ran
                    continue
                with place.real.open("rb") as log:
                    shutil.copyfileobj(log, target, trees.CHUNK)
            try:
                saved.append(self._save({"name": f"{container}-logs"}, f"{container}.log", copy))
            except ExecutorError as err:
                self.errors.append(str(err))
        return saved


@dataclass(frozen=True)
class SharedVolume:
    """The sources in the original's pod: what the helpers in the containers copied below /var/run/argo.

    ``place`` finds the executor's paths (a test's are below a directory of its own).
    """

    place: Callable[[str], Place]

    def volume(self, path: str) -> Place:
        return self.place(clean(f"{MIRROR}/{path}"))

    def parameter(self, path: str) -> Place:
        return self.place(clean(f"{VAR_RUN_ARGO}/outputs/parameters/{path}"))

    def packed(self, path: str) -> Place | None:
        return self.place(clean(f"{VAR_RUN_ARGO}/outputs/artifacts/{path.removesuffix('/')}.tgz"))

    def unpacked(self, path: str) -> Place:
        return self.place(path)

    def stdout(self) -> Place:
        return self.place(f"{VAR_RUN_ARGO}/ctr/{MAIN}/stdout")

    def log(self, container: str) -> Place:
        return self.place(f"{VAR_RUN_ARGO}/ctr/{container}/combined")


def _read_tail(place: Place, limit: int) -> bytes:
    try:
        with open(os.open(place.real, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - limit))
            return file.read(limit)
    except OSError as err:
        raise go_error("open", place.shown, err) from err
