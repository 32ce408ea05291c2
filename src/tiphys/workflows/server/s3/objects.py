"""Buckets and objects, as directories and files of a ``LocalStore``: what the executor saved is there to be read.

    <root>/<bucket>/<key>               an object; one being written has another name until it is whole
    <root>/.uploads/<id>/<number>       parts of an upload that is not complete yet

Whatever a key says, it stays in its bucket. A key cannot be an object and the beginning of another's at once (a file is
no directory); that is refused. The tag of an object is the MD5 of its content where it came through here, else it is
made of its size and time, and of no digest's shape.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DRAFTS = re.compile(r"\..*\.[0-9a-f]{32}\Z")
UPLOADS = ".uploads"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_UPLOAD = re.compile(r"[0-9a-f]{32}\Z")
TAG_ATTRIBUTE, TYPE_ATTRIBUTE = "user.tiphys.etag", "user.tiphys.type"
CHUNK = 1 << 20
PARTS_MAX = 10_000
KEY_BYTES_MAX = 1024


class Refused(Exception):
    """``code`` is S3's."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


@dataclass(frozen=True, slots=True)
class Object:
    key: str
    size: int
    modified: float
    tag: str
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """``prefixes`` stand for the keys below a delimiter. ``next_token``: begin after this one; "" at the end."""

    objects: list[Object]
    prefixes: list[str]
    next_token: str


class Objects:
    def __init__(self, root: Path) -> None:
        self._root = root

    # Buckets.

    def buckets(self) -> list[tuple[str, float]]:
        """(name, time of making) of all."""
        if not self._root.is_dir():
            return []
        found = [place for place in self._root.iterdir() if place.is_dir() and place.name != UPLOADS]
        return sorted((place.name, place.stat().st_mtime) for place in found)

    def make_bucket(self, name: str) -> None:
        if not _BUCKET.match(name):
            raise Refused("InvalidBucketName", "The specified bucket is not valid.", 400)
        try:
            (self._root / name).mkdir(parents=True)
        except FileExistsError:
            text = "Your previous request to create the named bucket succeeded and you already own it."
            raise Refused("BucketAlreadyOwnedByYou", text, 409) from None

    def delete_bucket(self, name: str) -> None:
        try:
            self._bucket(name).rmdir()
        except OSError as err:
            raise Refused("BucketNotEmpty", "The bucket you tried to delete is not empty", 409) from err

    def has_bucket(self, name: str) -> bool:
        return (self._root / name).is_dir() and "/" not in name and not name.startswith(".")

    # Objects.

    def head(self, bucket: str, key: str) -> Object:
        place = self._place(bucket, key)
        if not place.is_file() or key.endswith("/"):
            raise Refused("NoSuchKey", "The specified key does not exist.", 404)
        return _described(key, place)

    def path(self, bucket: str, key: str) -> Path:
        """The object's file, for reading."""
        self.head(bucket, key)
        return self._place(bucket, key)

    def draft(self, bucket: str, key: str) -> Path:
        """Where a new object is written before it takes its name."""
        place = self._place(bucket, key)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as err:
            raise _in_the_way(key) from err
        return place.with_name(f".{place.name[:100]}.{uuid.uuid4().hex}")

    def take(self, draft: Path, bucket: str, key: str, tag: str, content_type: str = "") -> None:
        place = self._place(bucket, key)
        for name, value in ((TAG_ATTRIBUTE, tag), (TYPE_ATTRIBUTE, content_type)):
            with contextlib.suppress(OSError, AttributeError):  # a file system without attributes
                os.setxattr(draft, name, value.encode()[:1024])
        try:
            os.replace(draft, place)
        except (IsADirectoryError, NotADirectoryError) as err:
            draft.unlink(missing_ok=True)
            raise _in_the_way(key) from err

    def make_directory(self, bucket: str, key: str) -> None:
        """An empty object whose key ends in a slash: what consoles call a folder."""
        try:
            self._place(bucket, key).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as err:
            raise _in_the_way(key) from err

    def delete(self, bucket: str, key: str) -> None:
        """Directories that held nothing else go too."""
        place, top = self._place(bucket, key), self._bucket(bucket)
        with contextlib.suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError):
            place.unlink()
        for folder in place.parents:
            if folder == top or not folder.is_relative_to(top):
                return
            try:
                folder.rmdir()
            except OSError:
                return

    def page(self, bucket: str, prefix: str, delimiter: str, after: str, limit: int) -> Page:
        """Keys in byte order, from the first after ``after``."""
        objects: list[Object] = []
        prefixes: list[str] = []
        last = ""
        for key, place in self._walk(self._bucket(bucket), prefix):
            group = _group(key, prefix, delimiter)
            if (group or key) <= after or (group and (group in prefixes[-1:] or after.startswith(group))):
                continue
            if len(objects) + len(prefixes) == limit:
                return Page(objects, prefixes, last)
            last = group or key
            if group:
                prefixes.append(group)
            else:
                objects.append(_described(key, place))
        return Page(objects, prefixes, "")

    def _walk(self, top: Path, prefix: str) -> Iterator[tuple[str, Path]]:
        """(key, file) below the bucket whose key begins so, sorted as S3 sorts: by the bytes of the whole key."""
        folder = prefix.rpartition("/")[0]
        begin = top.joinpath(*[p for p in folder.split("/") if p not in ("", ".", "..")]) if folder else top
        found = []
        for here, directories, files in os.walk(begin):
            directories[:] = [d for d in directories if not DRAFTS.match(d)]
            base = Path(here).relative_to(top).as_posix()
            for name in files:
                key = name if base == "." else f"{base}/{name}"
                if key.startswith(prefix) and not DRAFTS.match(name):
                    found.append(key)
        for key in sorted(found, key=os.fsencode):
            yield key, top / key

    # Uploads in parts.

    def begin_upload(self, bucket: str, key: str, content_type: str) -> str:
        self._place(bucket, key)
        upload = uuid.uuid4().hex
        place = self._root / UPLOADS / upload
        place.mkdir(parents=True)
        (place / "key").write_text(f"{bucket}\n{key}\n{content_type}", encoding="utf-8")
        return upload

    def part(self, upload: str, number: int) -> Path:
        """Where a part is kept."""
        if not 1 <= number <= PARTS_MAX:
            raise Refused("InvalidArgument", f"Part number must be an integer between 1 and {PARTS_MAX}", 400)
        return self._upload(upload) / f"{number:05d}"

    def parts(self, upload: str) -> list[tuple[int, Object]]:
        place = self._upload(upload)
        return [(int(p.name), _described(p.name, p)) for p in sorted(place.iterdir()) if p.name.isdigit()]

    def complete(self, bucket: str, key: str, upload: str, numbers: list[tuple[int, str]]) -> str:
        """Puts the parts together in their order; the object's tag."""
        place = self._upload(upload)
        wanted = (place / "key").read_text(encoding="utf-8").split("\n", 2)
        if wanted[:2] != [bucket, key]:
            raise Refused("NoSuchUpload", "The specified multipart upload does not exist.", 404)
        if not numbers or [n for n, _ in numbers] != sorted({n for n, _ in numbers}):
            raise Refused("InvalidPartOrder", "The list of parts was not in ascending order.", 400)
        total, draft = hashlib.md5(usedforsecurity=False), self.draft(bucket, key)
        with draft.open("wb") as target:
            for number, tag in numbers:
                part = place / f"{number:05d}"
                known = _attribute(part, TAG_ATTRIBUTE) or _md5(part)
                if not part.is_file() or (tag and tag.strip('"') != known):
                    draft.unlink()
                    raise Refused("InvalidPart", "One or more of the specified parts could not be found.", 400)
                total.update(bytes.fromhex(known))
                with part.open("rb") as source:
                    shutil.copyfileobj(source, target, CHUNK)
        tag = f"{total.hexdigest()}-{len(numbers)}"
        self.take(draft, bucket, key, tag, wanted[2])
        shutil.rmtree(place, ignore_errors=True)
        return tag

    def abort(self, upload: str) -> None:
        shutil.rmtree(self._upload(upload), ignore_errors=True)

    def _upload(self, upload: str) -> Path:
        place = self._root / UPLOADS / upload
        if not _UPLOAD.match(upload) or not place.is_dir():
            raise Refused("NoSuchUpload", "The specified multipart upload does not exist.", 404)
        return place

    def _bucket(self, name: str) -> Path:
        if not self.has_bucket(name):
            raise Refused("NoSuchBucket", "The specified bucket does not exist", 404)
        return self._root / name

    def _place(self, bucket: str, key: str) -> Path:
        parts = key.rstrip("/").split("/")
        if not key or "\0" in key or len(key.encode()) > KEY_BYTES_MAX or any(p in ("", ".", "..") for p in parts):
            raise Refused("InvalidArgument", f"{key!r} is no key that this store can have", 400)
        if DRAFTS.match(parts[-1]):
            raise Refused("InvalidArgument", "such keys are kept for objects that are being written", 400)
        top = self._bucket(bucket)
        place = top.joinpath(*parts)
        if not place.parent.resolve().is_relative_to(top.resolve()) or place.is_symlink():
            raise Refused("AccessDenied", "Access Denied.", 403)
        return place


def _in_the_way(key: str) -> Refused:
    text = f"{key!r} is the beginning of other keys, or begins with one: this store keeps objects as files"
    return Refused("OperationAborted", text, 409)


def _group(key: str, prefix: str, delimiter: str) -> str:
    """What stands for all keys that go on alike up to the delimiter; "" for a key without."""
    if not delimiter:
        return ""
    head, found, _ = key[len(prefix) :].partition(delimiter)
    return f"{prefix}{head}{delimiter}" if found else ""


def _described(key: str, place: Path) -> Object:
    state = place.stat()
    tag = _attribute(place, TAG_ATTRIBUTE) or f"{state.st_size:x}-{state.st_mtime_ns:x}"
    return Object(key, state.st_size, state.st_mtime, tag, _attribute(place, TYPE_ATTRIBUTE))


def _attribute(place: Path, name: str) -> str:
    try:
        return os.getxattr(place, name).decode("utf-8", "replace")
    except (OSError, AttributeError):
        return ""


def _md5(place: Path) -> str:
    try:
        with place.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except FileNotFoundError:
        return ""
