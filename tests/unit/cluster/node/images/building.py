"""Images made by hand for tests: layers from lists of members, and what `docker save` and OCI layouts look like."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BUSYBOX = shutil.which("busybox") or "/bin/busybox"
APPLETS = (
    "sh", "cat", "echo", "id", "ls", "pwd", "sleep", "true", "false", "env", "mkdir", "touch", "rm", "grep", "test",
    "tail", "stat", "mount", "ln", "head", "wc", "sed", "chmod", "printf", "hostname", "ps", "kill", "stty", "tty",
)  # fmt: skip
OCI = "application/vnd.oci.image"


def member(
    name: str, data: bytes = b"", *, kind: bytes = tarfile.REGTYPE, **more: Any
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    info.mode = more.pop("mode", 0o755 if kind == tarfile.DIRTYPE else 0o644)
    info.linkname = more.pop("link", "")
    info.pax_headers = more.pop("pax", {})
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def layer(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A plain layer."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def busybox_layer() -> bytes:
    """A root with busybox's own programs and the accounts that the recorded kubelet cases have."""
    rows = [member(f"{name}/", kind=tarfile.DIRTYPE) for name in ("bin", "etc", "data", "home", "home/app")]
    rows += [member("tmp/", kind=tarfile.DIRTYPE, mode=0o1777), member("root/", kind=tarfile.DIRTYPE, mode=0o700)]
    rows.append(member("bin/busybox", Path(BUSYBOX).read_bytes(), mode=0o755))
    rows += [member(f"bin/{name}", kind=tarfile.SYMTYPE, link="busybox") for name in APPLETS]
    passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
    rows.append(member("etc/passwd", passwd.encode()))
    rows.append(member("etc/group", b"root:x:0:\napp:x:1000:\nextra:x:3000:app\n"))
    rows.append(member("data/seed.txt", b"seed\n"))
    return layer(*rows)


def python_layer() -> bytes | None:
    """A root with Python as Debian packages it, from the packages that are installed here; None without them."""
    if shutil.which("dpkg-query") is None or not os.path.islink("/lib"):
        return None
    wanted = ("python3-minimal", "python3.*-minimal", "libpython3.*-minimal", "libc6", "zlib1g", "libexpat1", "libssl3")
    rows = _said("dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\\n", *wanted)
    packages = [row.partition(" ")[2] for row in rows if row.startswith("installed ")]
    if not any(name.startswith("libpython3") for name in packages):
        return None
    listed = [Path(row) for row in _said("dpkg-query", "-L", *packages) if row.startswith(("/usr/", "/lib"))]
    files = {place.parent.resolve() / place.name for place in listed if place.is_file()}
    links = [member(name.strip("/"), kind=tarfile.SYMTYPE, link=os.readlink(name)) for name in ("/lib", "/lib64")]
    return layer(*links, *map(_as_member, sorted(files)))


def _said(*words: str) -> list[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.splitlines()


def _as_member(place: Path) -> tuple[tarfile.TarInfo, bytes]:
    name = str(place).strip("/")
    if place.is_symlink():
        return member(name, kind=tarfile.SYMTYPE, link=os.readlink(place))
    return member(name, place.read_bytes(), mode=place.stat().st_mode & 0o777)


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class ImageFiles:
    """An image's blobs. ``config`` is what Docker calls so: Entrypoint, Cmd, Env …"""

    def __init__(
        self, layers: Sequence[bytes], config: Mapping[str, Any] | None = None, compress: str = "gzip"
    ) -> None:
        self.blobs: dict[str, bytes] = {}
        packed = [_compressed(data, compress) for data in layers]
        document = {
            "architecture": "amd64",
            "os": "linux",
            "config": dict(config or {}),
            "rootfs": {"type": "layers", "diff_ids": [digest(data) for data in layers]},
        }
        self.config = json.dumps(document).encode()
        ending = {"gzip": "+gzip", "zstd": "+zstd", "": ""}[compress]
        rows = [{"mediaType": f"{OCI}.layer.v1.tar{ending}", "digest": self._add(d), "size": len(d)} for d in packed]
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": f"{OCI}.manifest.v1+json",
                "config": {
                    "mediaType": f"{OCI}.config.v1+json",
                    "digest": self._add(self.config),
                    "size": len(self.config),
                },
                "layers": rows,
            }
        ).encode()
        self.digest = digest(self.manifest)
        self._packed = packed

    def _add(self, data: bytes) -> str:
        self.blobs[digest(data)] = data
        return digest(data)

    def layout(self, place: Path, name: str) -> Path:
        """Writes an OCI layout."""
        for key, data in {**self.blobs, self.digest: self.manifest}.items():
            file = place / "blobs" / "sha256" / key.removeprefix("sha256:")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        (place / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        notes = {"org.opencontainers.image.ref.name": name} if name else {}
        row = {
            "mediaType": f"{OCI}.manifest.v1+json",
            "digest": self.digest,
            "size": len(self.manifest),
            "annotations": notes,
        }
        (place / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [row]}))
        return place

    def saved(self, file: Path, *names: str, layers: Sequence[bytes] = ()) -> Path:
        """Writes what ``docker save`` writes (plain layers)."""
        key = digest(self.config).removeprefix("sha256:")
        rows = [member(f"{key}.json", self.config)]
        places = []
        for number, data in enumerate(layers):
            places.append(f"{number}/layer.tar")
            rows.append(member(places[-1], data))
        text = [{"Config": f"{key}.json", "RepoTags": list(names), "Layers": places}]
        rows.append(member("manifest.json", json.dumps(text).encode()))
        file.write_bytes(layer(*rows))
        return file


def _compressed(data: bytes, how: str) -> bytes:
    if how == "gzip":
        return gzip.compress(data, 1, mtime=0)
    if how == "zstd":
        from tiphys.cluster.node.images.layers import _zstd

        return bytes(_zstd().compress(data))
    return data


def is_root() -> bool:
    return os.geteuid() == 0
