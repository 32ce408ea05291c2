"""Volumes of a pod: one source each, and what a source must have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required
from tiphys.cluster.apiserver.rules.values import Fields, duplicate, inside, named, needed, one_of, without_dots
from tiphys.lang import name_rules
from tiphys.machinery.quantities import is_quantity, parse

MODE_MAX: Final = 0o777
# In the order in which the original looks at them: the second one that is found is one too many.
_SOURCES: Final = (
    "emptyDir",
    "hostPath",
    "gitRepo",
    "secret",
    "nfs",
    "persistentVolumeClaim",
    "configMap",
    "downwardAPI",
    "projected",
    "csi",
    "ephemeral",
    "image",
)
_HOST_PATH_TYPES: Final = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)


def volume_complaints(volumes: Sequence[Fields], at: str) -> Iterator[Complaint]:
    seen: set[str] = set()
    for number, volume in enumerate(volumes):
        here = f"{at}[{number}]"
        sources = [source for source in _SOURCES if volume.get(source) is not None]
        if sources:
            yield from _source_complaints(sources[0], volume[sources[0]], f"{here}.{sources[0]}")
        for source in sources[1:]:
            yield forbidden_value(f"{here}.{source}", "may not specify more than 1 volume type")
        yield from named(volume, here, "name", name_rules.dns1123_label)
        name = volume.get("name") or ""
        if name and name in seen:
            yield duplicate(f"{here}.name", name)
        seen.add(name)


def _source_complaints(kind: str, source: Fields, at: str) -> Iterator[Complaint]:
    match kind:
        case "emptyDir":
            limit = source.get("sizeLimit")
            if limit is not None and is_quantity(str(limit)) and parse(str(limit)).sign < 0:
                yield forbidden_value(f"{at}.sizeLimit", "SizeLimit field must be a valid resource quantity")
        case "hostPath":
            yield from needed(source, at, "path")
            yield from without_dots(source.get("path") or "", f"{at}.path")
            yield from one_of(source, at, "type", _HOST_PATH_TYPES)
        case "nfs":
            yield from needed(source, at, "server", "path")
            path = source.get("path") or ""
            if path and not path.startswith("/"):
                yield invalid_value(f"{at}.path", path, "must be an absolute path")
        case "secret" | "configMap":
            yield from needed(source, at, "secretName" if kind == "secret" else "name")
            yield from _mode_complaints(source, at, "defaultMode")
            yield from _item_complaints(source, at)
        case "persistentVolumeClaim":
            yield from needed(source, at, "claimName")
        case "downwardAPI":
            yield from _mode_complaints(source, at, "defaultMode")
        case "projected":
            yield from _projected_complaints(source, at)
        case "csi":
            yield from needed(source, at, "driver")
        case "ephemeral":
            if source.get("volumeClaimTemplate") is None:
                yield required(f"{at}.volumeClaimTemplate")


def _item_complaints(source: Fields, at: str) -> Iterator[Complaint]:
    for number, item in enumerate(source.get("items") or ()):
        here = f"{at}.items[{number}]"
        yield from needed(item, here, "key", "path")
        yield from inside(item.get("path") or "", f"{here}.path")
        yield from _mode_complaints(item, here, "mode")


def _projected_complaints(source: Fields, at: str) -> Iterator[Complaint]:
    yield from _mode_complaints(source, at, "defaultMode")
    seen: set[str] = set()
    for number, one in enumerate(source.get("sources") or ()):
        here = f"{at}.sources[{number}]"
        for kind in ("secret", "configMap"):
            part = one.get(kind)
            if part is None:
                continue
            yield from needed(part, f"{here}.{kind}", "name")
            yield from _item_complaints(part, f"{here}.{kind}")
            for path in (item.get("path") or "" for item in part.get("items") or ()):
                if path in seen:
                    yield invalid_value(at, part.get("name") or "", "conflicting duplicate paths")
                seen.add(path)
        token = one.get("serviceAccountToken")
        if token is not None:
            seconds = token.get("expirationSeconds")
            if seconds is not None and seconds < 600:
                text = "may not specify a duration less than 10 minutes"
                yield invalid_value(f"{here}.serviceAccountToken.expirationSeconds", seconds, text)
            if not token.get("path"):
                yield required(f"{at}.path")


def _mode_complaints(source: Fields, at: str, field: str) -> Iterator[Complaint]:
    mode = source.get(field)
    if mode is not None and not 0 <= mode <= MODE_MAX:
        text = "must be a number between 0 and 0777 (octal), both inclusive"
        yield invalid_value(f"{at}.{field}", mode, text)
