"""The local artifact store: a directory, for artifacts that name no endpoint where no repository is configured.

    <root>/<bucket>/<key>     files and directories, exactly the bytes that were saved

Artifacts of the local store look like S3 artifacts to everybody else (``s3: {key: …}``), because that is what
manifests, the API and its clients know. Saving replaces what was there in one step. Keys cannot lead out of the root.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.trees import Place

Object = Mapping[str, Any]
DEFAULT_BUCKET = "artifacts"
# The endpoint of what this store holds; whatever names another is not its.
ENDPOINT = "local"
DEFAULT_KEY_FORMAT = "{{workflow.name}}/{{pod.name}}"


class LocalStore:
    """An ``ArtifactDriver`` over ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def load(self, artifact: Object, target: Path) -> None:
        source = self.place_of(artifact)
        try:
            if source.is_dir():
                shutil.copytree(source, target, symlinks=True)
            else:
                _copy_file(source, target)
        except FileNotFoundError as err:
            raise ExecutorError("The specified key does not exist.", missing=True) from err
        except OSError as err:
            raise ExecutorError(f"local store: {err}") from err

    def save(self, source: Place, artifact: Object) -> None:
        target = self.place_of(artifact)
        draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.real.is_dir():
                shutil.copytree(source.real, draft, symlinks=True)
                if target.is_dir():
                    shutil.rmtree(target)
            else:
                _copy_file(source.real, draft)
            os.replace(draft, target)
        except OSError as err:
            raise ExecutorError(f"local store: cannot save {source.shown}: {err}") from err

    def delete(self, artifact: Object) -> None:
        """Removing what is not there is fine; directories that held nothing else go too."""
        place = self.place_of(artifact)
        try:
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)
        except OSError as err:
            raise ExecutorError(f"local store: {err}") from err
        for folder in place.parents:
            if folder == self.root or not folder.is_relative_to(self.root):
                return
            try:
                folder.rmdir()
            except OSError:  # not empty, or gone
                return

    def list_objects(self, artifact: Object) -> Iterator[str]:
        """The keys below the artifact's key, sorted."""
        top = self.place_of(artifact)
        bucket = self.root / _bucket(artifact)
        if top.is_file():
            yield top.relative_to(bucket).as_posix()
        for place in sorted(p for p in top.rglob("*") if p.is_file()):
            yield place.relative_to(bucket).as_posix()

    def is_directory(self, artifact: Object) -> bool:
        return self.place_of(artifact).is_dir()

    def place_of(self, artifact: Object) -> Path:
        """Where the artifact is. Raises ``ExecutorError`` for keys that lead elsewhere."""
        key = str((artifact.get("s3") or {}).get("key") or "")
        parts = PurePosixPath("/" + key).parts[1:]
        if not parts or any(part in ("..", ".") or "\0" in part for part in key.split("/")):
            raise ExecutorError(f"local store: {key!r} is no key")
        return self.root.joinpath(_bucket(artifact), *parts)


def _bucket(artifact: Object) -> str:
    name = str((artifact.get("s3") or {}).get("bucket") or DEFAULT_BUCKET)
    if "/" in name or name in (".", ".."):
        raise ExecutorError(f"local store: {name!r} is no bucket")
    return name


def is_local(artifact: Object, names: Collection[str] = ()) -> bool:
    """Whether an S3 artifact, its place complete as far as it goes, is in a local store (also under other names)."""
    endpoint = (artifact.get("s3") or {}).get("endpoint") or ENDPOINT
    return endpoint == ENDPOINT or endpoint in names


def archive_location(workflow_name: str, pod_name: str) -> dict[str, Any]:
    """The location of a pod's artifacts in the local store."""
    return {"s3": {"endpoint": ENDPOINT, "bucket": DEFAULT_BUCKET, "key": f"{workflow_name}/{pod_name}"}}


def _copy_file(source: Path, target: Path) -> None:
    """By the kernel, sharing blocks where the file system can."""
    shutil.copyfile(source, target)
    shutil.copymode(source, target)
