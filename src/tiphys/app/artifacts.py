"""The local artifact store's S3 side: an endpoint for S3 clients, its credentials, and the names that stand for it.

``tiphys up`` listens (``s3_listen``, else 127.0.0.1:9000, else any free port); ``tiphys run`` does where ``s3_listen``
says so. Workflows reach the store without any network under the names in ``s3_names``: those of the MinIO that Argo's
own examples use, with their Secret, which exists here too.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tiphys.app.settings import Settings
from tiphys.client.client import Client
from tiphys.lang import goyaml
from tiphys.machinery.errors import AlreadyExists, DriverError, SpecError
from tiphys.machinery.resources import SECRETS
from tiphys.runtime.clock import Clock
from tiphys.workflows.settings import ArtifactPlugin

USUAL_ADDRESS = "127.0.0.1:9000"
ACCESS_KEY = "tiphys"
# The Secret, and the bucket, of Argo's quick start and examples.
SECRET_NAME, BUCKET = "my-minio-cred", "my-bucket"


def artifact_plugins(file: Path | None) -> dict[str, ArtifactPlugin]:
    """The artifact plugins of a file: a list of ``name``, ``image``, ``connectionTimeoutSeconds``, as in the
    ``artifactDrivers`` of Argo's controller. Raises ``SpecError`` naming the file."""
    if file is None:
        return {}
    try:
        rows = goyaml.load(file.read_text(encoding="utf-8")) or []
        return {
            str(row["name"]): ArtifactPlugin(str(row["image"]), int(row.get("connectionTimeoutSeconds") or 0))
            for row in rows
        }
    except KeyError as err:
        raise SpecError(str(file), f"an artifact plugin has no {err}") from err
    except (OSError, ValueError, TypeError, AttributeError) as err:
        raise SpecError(str(file), f"is no list of artifact plugins: {err}") from err


@dataclass(frozen=True, slots=True)
class Keys:
    """What S3 clients sign with."""

    access: str
    secret: str = field(repr=False)


def keys(folder: Path) -> Keys:
    """Those of this data directory, made once; nobody else on this machine can read them."""
    file = folder / "s3.json"
    try:
        return Keys(**json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        made = Keys(ACCESS_KEY, secrets.token_urlsafe(24))
    draft = folder / "s3.json.new"  # a kill while it is written must not leave half of it
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump(asdict(made), out)
    draft.replace(file)
    return made


async def furnish_artifacts(client: Client, folder: Path) -> Keys:
    """The Secret that manifests for MinIO name, and the bucket."""
    known = keys(folder)
    (folder / "artifacts" / BUCKET).mkdir(parents=True, exist_ok=True)
    body = {"accesskey": known.access, "secretkey": known.secret}
    meta = {"name": SECRET_NAME, "namespace": "default"}
    with contextlib.suppress(AlreadyExists):
        await client.create(SECRETS, {"metadata": meta, "type": "Opaque", "stringData": body})
    return known


@asynccontextmanager
async def s3_endpoint(
    settings: Settings, folder: Path, known: Keys, clock: Clock, *, daemon: bool
) -> AsyncIterator[str]:
    """The URL at which the store answers; "" where it does not listen. Raises ``DriverError``."""
    if not settings.s3_listen and not daemon:
        yield ""
        return
    from aiohttp import web

    from tiphys.workflows.server.s3.handler import S3Handler
    from tiphys.workflows.server.s3.objects import Objects

    handler = S3Handler(Objects(folder / "artifacts"), {known.access: known.secret}, clock)
    runner = web.AppRunner(handler.application(), access_log=None, handle_signals=False, auto_decompress=False)
    await runner.setup()
    try:
        yield await _listen(runner, settings.s3_listen)
    finally:
        await runner.cleanup()


async def _listen(runner: object, wanted: str) -> str:
    from aiohttp import web

    assert isinstance(runner, web.AppRunner)
    for address in [wanted] if wanted else [USUAL_ADDRESS, "127.0.0.1:0"]:
        host, _, port = address.rpartition(":")
        try:
            await web.TCPSite(runner, host.strip("[]"), int(port)).start()
        except OSError as err:
            failure = DriverError(f"cannot listen on {address}: {err.strerror or err}")
            continue
        return f"http://{host}:{runner.addresses[0][1]}"
    raise failure
