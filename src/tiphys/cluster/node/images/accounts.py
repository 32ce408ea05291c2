"""Users of an image: ``name``, ``uid``, ``name:group``, ``uid:gid`` as its own /etc/passwd and /etc/group know them.

As containerd resolves them (pkg/oci WithUser): a name must be there, a number need not be; without a group it is the
account's, else 0; the groups that list the user's name are added.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tiphys.cluster.node.images.manifests import ImageError
from tiphys.cluster.node.layered import LayeredRoot

FILE_BYTES_MAX = 4 << 20


@dataclass(frozen=True, slots=True)
class Account:
    """``groups`` are the others that the user belongs to. ``home`` is "" for a user without an entry."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = ""
    name: str = ""


def find(root: Path, user: str) -> Account:
    """Raises ``ImageError`` for a name that the image does not know."""
    who, _, group = user.partition(":")
    rows = _rows(root, "/etc/passwd", 7)
    row = next((r for r in rows if (r[2] == who if who.isdecimal() else r[0] == who)), None) if who else None
    if not who:
        row = next((r for r in rows if r[2] == "0"), None)
    if row is None and who and not who.isdecimal():
        raise ImageError(f"unable to find user {who}: no matching entries in passwd file")
    uid = int(row[2]) if row else int(who or 0)
    gid = int(row[3]) if row and row[3].isdecimal() else 0
    groups = _rows(root, "/etc/group", 4)
    if group:
        gid = _group(groups, group)
    name = row[0] if row else ""
    more = [int(g[2]) for g in groups if name and name in g[3].split(",") and g[2].isdecimal()] if not group else []
    return Account(uid, gid, tuple(sorted(set(more))), row[5] if row else "", name)


def _group(groups: list[list[str]], group: str) -> int:
    if group.isdecimal():
        return int(group)
    found = next((g for g in groups if g[0] == group and g[2].isdecimal()), None)
    if found is None:
        raise ImageError(f"unable to find group {group}: no matching entries in group file")
    return int(found[2])


def _rows(root: Path, path: str, fields: int) -> list[list[str]]:
    place = LayeredRoot(None, root, root).resolve(path)
    try:
        with (place or root / "none").open("rb") as file:
            text = file.read(FILE_BYTES_MAX).decode("utf-8", "replace")
    except OSError:
        return []
    rows = [line.split(":") for line in text.splitlines()]
    return [row for row in rows if len(row) >= fields and row[2].isdecimal()]
