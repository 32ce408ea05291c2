"""The images that the recorded pods ran, built here from this machine's static busybox (``golden/kubelet`` README).

One root for all of them (but for ``httpd``'s page), other configurations. ``LocalImages`` serves them as a node's
image source; every other name is one that no registry has.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from tiphys.cluster.node.accounts import parse_accounts
from tiphys.cluster.node.images.map import Image, ImageMap

PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
)
GROUP = "root:x:0:\napp:x:1000:\nextra:x:3000:app\nnobody:x:65534:\n"
SEED_TIME = 1_700_000_000  # 14 November 2023
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOTH = {"PATH": PATH, "IMG_VAR": "from-image", "BOTH": "image"}
VOLUME = "ls -ln /data; cat /data/seed.txt; touch /data/x && ls /data/x | wc -l"
TRAPS = "trap 'exit 7' USR1; trap 'exit 8' TERM; while :; do sleep 0.1; done"
HTTPD = ("/bin/httpd", "-f", "-p", "8080", "-h", "/www")


def build_root(place: Path) -> Path:
    """The files of ``busybox:1.35`` as they were recorded."""
    busybox = shutil.which("busybox")
    assert busybox is not None, "these cases need a static busybox"
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "root", "home/app", "data", "var", "usr", "www", "run"):
        (place / name).mkdir(parents=True, exist_ok=True)
    (place / "tmp").chmod(0o1777)
    shutil.copy(busybox, place / "bin/busybox")
    for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            (place / "bin" / applet).symlink_to("busybox")
    (place / "etc/passwd").write_text(PASSWD)
    (place / "etc/group").write_text(GROUP)
    (place / "data/seed.txt").write_text("seed\n")
    os.utime(place / "data/seed.txt", (SEED_TIME, SEED_TIME))
    (place / "notexec.sh").write_text("#!/bin/sh\necho hi\n")
    (place / "notexec.sh").chmod(0o644)
    (place / "badformat").write_bytes(b"\x01\x02\x03 no program\n")
    (place / "badformat").chmod(0o755)
    (place / "www/index.html").write_text("hello\n")
    return place


def images(root: Path) -> dict[str, Image]:
    accounts = parse_accounts(PASSWD, GROUP)
    path = {"PATH": PATH}
    plain = Image("busybox:1.35", "sha256:busybox", cmd=("sh",), env=path, root=root, accounts=accounts)
    listing = ("sh", "-c", "pwd; ls -ldn .")
    made = {
        "busybox:1.35": plain,
        "app-user-name:1": replace(plain, user="app"),
        "app-user-1000:1": replace(plain, user="1000"),
        "app-entry:1": replace(plain, entrypoint=("/bin/echo", "entry"), cmd=("image-cmd",), env=BOTH),
        "app-workdir:1": replace(plain, cmd=listing, env=BOTH, workdir="/home/app/work"),
        "app-nocmd:1": replace(plain, cmd=()),
        "app-stopsignal:1": replace(plain, cmd=("sh", "-c", TRAPS), stop_signal="SIGUSR1"),
        "app-volume:1": replace(
            plain, cmd=("sh", "-c", VOLUME)
        ),
        "httpd:1": replace(plain, cmd=HTTPD),
        "127.0.0.1:5999/team/app:1": replace(plain, cmd=("echo", "from-registry")),
    }
    return {name: replace(image, reference=name) for name, image in made.items()}


class LocalImages(ImageMap):
    """Finds the images built here; the words of a refusal are the map's."""

    def __init__(self, root: Path) -> None:
        super().__init__(())
        self._built = images(root)

    def image(self, reference: str) -> Image:
        found = self._built.get(reference.removeprefix("docker.io/library/"))
        return replace(found, reference=reference) if found is not None else super().image(reference)
