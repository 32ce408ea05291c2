"""The accounts of an image: what its /etc/passwd and /etc/group say. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Accounts:
    """An image's /etc/passwd and /etc/group, as far as they matter: ids by name, groups by member."""

    users: Mapping[str, tuple[int, int]]
    groups: Mapping[str, int]
    members: Mapping[str, tuple[int, ...]]

    def name_of(self, uid: int) -> str | None:
        return next((name for name, (number, _) in self.users.items() if number == uid), None)


NO_ACCOUNTS = Accounts({"root": (0, 0)}, {"root": 0}, {})


def parse_accounts(passwd: str, group: str) -> Accounts:
    """From the text of the two files; lines that are none are left out."""
    users: dict[str, tuple[int, int]] = {}
    for fields in (line.split(":") for line in passwd.splitlines()):
        if len(fields) >= 4 and fields[2].isdigit() and fields[3].isdigit():
            users.setdefault(fields[0], (int(fields[2]), int(fields[3])))
    groups: dict[str, int] = {}
    members: dict[str, list[int]] = {}
    for fields in (line.split(":") for line in group.splitlines()):
        if len(fields) >= 4 and fields[2].isdigit():
            groups.setdefault(fields[0], int(fields[2]))
            for member in filter(None, fields[3].split(",")):
                members.setdefault(member, []).append(int(fields[2]))
    return Accounts(users, groups, {name: tuple(ids) for name, ids in members.items()})
