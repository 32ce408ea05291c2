"""The images that the recorded pods ran, built here from this machine's static busybox (``golden/kubelet`` README).

One layer for all of them, other configurations; put into a store like any image that somebody loads. ``registry`` is
the recorder's: ``team/app:1`` is there, ``private/`` wants a password, ``broken/`` fails, all else is not found.
"""

from __future__ import annotations

import contextlib
import subprocess
import tarfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.unit.cluster.node.images.building import BUSYBOX, OCI, ImageFiles, layer, member
from tiphys.cluster.node.images.archives import load
from tiphys.cluster.node.images.store import Store

REGISTRY_HOST, REGISTRY_PORT = "127.0.0.1", 5999
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MARKS = ["IMG_VAR=from-image", "BOTH=image"]
TRAPS = "trap 'exit 7' USR1; trap 'exit 8' TERM; while :; do sleep 0.1; done"
IN_VOLUME = "ls -ln /data; cat /data/seed.txt; echo x > /data/new && ls /data/new | wc -l"
PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
)
GROUP = "root:x:0:\napp:x:1000:\nextra:x:3000:app\nnobody:x:65534:\n"
SEED_TIME = 1_700_000_000  # 14 November 2023
CONFIGURATIONS: Mapping[str, Mapping[str, Any]] = {
    "busybox:1.35": {"Cmd": ["sh"]},
    "app-user-name:1": {"Cmd": ["sh"], "User": "app"},
    "app-user-1000:1": {"Cmd": ["sh"], "User": "1000"},
    "app-entry:1": {"Entrypoint": ["/bin/echo", "entry"], "Cmd": ["image-cmd"], "Env": [PATH, *MARKS]},
    "app-workdir:1": {"Cmd": ["sh", "-c", "pwd; ls -ldn ."], "WorkingDir": "/home/app/work", "Env": [PATH, *MARKS]},
    "app-nocmd:1": {},
    "app-stopsignal:1": {"Cmd": ["sh", "-c", TRAPS], "StopSignal": "SIGUSR1"},
    "app-volume:1": {"Cmd": ["sh", "-c", IN_VOLUME], "Volumes": {"/data": {}}},
    "httpd:1": {"Cmd": ["httpd", "-f", "-p", "8080", "-h", "/www"]},
    f"{REGISTRY_HOST}:{REGISTRY_PORT}/team/app:1": {"Cmd": ["echo", "from-registry"]},
}


def base_layer() -> bytes:
    """The root of all of them: every applet in /bin, accounts, and some files that programs stumble over."""
    names = ("bin", "etc", "data", "home", "home/app", "www", "root", "var", "usr")
    rows = [member(f"{name}/", kind=tarfile.DIRTYPE) for name in names]
    rows += [member("tmp/", kind=tarfile.DIRTYPE, mode=0o1777)]
    rows.append(member("bin/busybox", Path(BUSYBOX).read_bytes(), mode=0o755))
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    rows += [member(f"bin/{name}", kind=tarfile.SYMTYPE, link="busybox") for name in applets if name != "busybox"]
    rows += [member("etc/passwd", PASSWD.encode()), member("etc/group", GROUP.encode())]
    rows.append(member("data/seed.txt", b"seed\n", mtime=SEED_TIME))
    rows.append(member("notexec.sh", b"#!/bin/sh\necho hi\n"))
    rows.append(member("badformat", b"\x01\x02\x03 no program\n", mode=0o755))
    rows.append(member("www/index.html", b"hello\n"))
    return layer(*rows)


def fill(store: Store, scratch: Path) -> ImageFiles:
    """Loads all images; gives back the one that the registry has."""
    shared = [base_layer()]
    files = None
    for number, (name, config) in enumerate(CONFIGURATIONS.items()):
        files = ImageFiles(shared, {"Env": [PATH], **config})
        for entry in load(files.layout(scratch / str(number), name), store):
            store.root(entry)
    assert files is not None
    return files


@contextlib.asynccontextmanager
async def registry(image: ImageFiles) -> AsyncIterator[None]:
    blobs = dict(image.blobs)

    async def answer(request: web.Request) -> web.Response:
        place = request.match_info["place"]
        if place.startswith("private/"):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="private"'})
        if place.startswith("broken/"):
            return web.Response(status=500)
        name, _, what = place.rpartition("/")
        kind = f"{OCI}.manifest.v1+json"
        if name == "team/app/manifests" and what in ("1", image.digest):
            headers = {"Docker-Content-Digest": image.digest}
            return web.Response(body=image.manifest, content_type=kind, headers=headers)
        if name == "team/app/blobs" and what in blobs:
            return web.Response(body=blobs[what])
        return web.Response(status=404)

    async def here(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/v2/", here), web.get("/v2/{place:.+}", answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, REGISTRY_HOST, REGISTRY_PORT).start()
        yield
    finally:
        await runner.cleanup()
