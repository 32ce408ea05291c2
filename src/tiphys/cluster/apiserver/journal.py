"""The store's durable half: one SQLite file, written by groups of changes. The only module that speaks SQLite.

    objects(id, collection, namespace, name, version, body)   one row an object; id = the version that created it
    parts(id, key, body)                                      entries of a big map of an object (status.nodes)
    id 0 in objects                                           the newest version ever given out, also by deletions

Everything is read once, at the start; afterwards the file is only written. Hence no index but the primary keys. A group
is written by few statements with many rows each: every statement costs this thread a wait for the interpreter lock.

WAL with synchronous=FULL: a commit that returned survives kill -9 and power loss; one that did not is rolled back at
the next start.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE objects (
  id INTEGER PRIMARY KEY, collection TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  version INTEGER NOT NULL, body BLOB
);
CREATE TABLE parts (id INTEGER NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (id, key)) WITHOUT ROWID;
"""
_ROWS_PER_STATEMENT = 128
_CHECKPOINT_PAGES = 2_000


class JournalError(OSError):
    """The file cannot be read or written (full, read-only, damaged, too new); nothing of the group is in it."""


class Row(NamedTuple):
    id: int
    collection: str
    namespace: str
    name: str
    version: int
    body: bytes


@dataclass
class Group:
    """Changes that become durable together. ``parts`` maps (id, key) to the entry's JSON, None removes it."""

    objects: dict[int, Row] = field(default_factory=dict)
    removed: set[int] = field(default_factory=set)
    parts: dict[tuple[int, str], bytes | None] = field(default_factory=dict)
    version: int = 0

    @classmethod
    def of_nothing(cls, version: int) -> Group:
        """Writes, and changes nothing: only says once more which version is the newest."""
        return cls(removed={0}, version=version)

    def put(self, row: Row) -> None:
        self.objects[row.id] = row

    def remove(self, id: int) -> None:
        self.objects.pop(id, None)
        self.removed.add(id)


# What binding values may raise besides; anything else would end the writer, and all writes would wait for ever.
_UNWRITABLE = (sqlite3.Error, MemoryError, OverflowError, UnicodeError)


class Journal:
    """Not thread-safe: ``load`` first, then ``commit`` from one thread (any one), then ``close``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
            self._prepare()
        except sqlite3.Error as err:
            raise JournalError(f"cannot open the cluster's database {path}: {err}") from err

    def _prepare(self) -> None:
        (found,) = self._db.execute("PRAGMA user_version").fetchone()
        if found > SCHEMA_VERSION:
            raise JournalError(
                f"{self.path} was written by a newer tiphys (schema {found}); use that, or a new directory"
            )
        # Before WAL: the index of the log is then kept in memory, and a second server on the same file is refused.
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        if found == 0:
            self._db.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={SCHEMA_VERSION};COMMIT")

    def newest_version(self) -> int:
        (newest,) = self._db.execute("SELECT coalesce(max(version), 0) FROM objects").fetchone()
        return int(newest)

    def objects(self) -> Iterator[Row]:
        rows = self._db.execute("SELECT id, collection, namespace, name, version, body FROM objects WHERE id > 0")
        return map(Row._make, rows)

    def parts(self) -> Iterator[tuple[int, str, bytes]]:
        return iter(self._db.execute("SELECT id, key, body FROM parts ORDER BY id"))

    def commit(self, group: Group) -> None:
        """Makes the whole group durable, or raises JournalError and leaves the file as it was."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._write(group)
                self._db.execute("COMMIT")
            except _UNWRITABLE:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except _UNWRITABLE as err:
            raise JournalError(f"cannot write {self.path}: {err}") from err

    def _write(self, group: Group) -> None:
        rows: list[Sequence[object]] = list(group.objects.values())
        if group.removed:
            rows.append((0, "", "", "", group.version, None))
            for table in ("objects", "parts"):
                self._many(f"DELETE FROM {table} WHERE id IN (", "?", ")", [(id,) for id in group.removed])
        self._many("INSERT OR REPLACE INTO objects VALUES ", "(?,?,?,?,?,?)", "", rows)
        parts = {part: body for part, body in group.parts.items() if part[0] not in group.removed}
        kept = [(id, key, body) for (id, key), body in parts.items() if body is not None]
        self._many("INSERT OR REPLACE INTO parts VALUES ", "(?,?,?)", "", kept)
        gone = [part for part, body in parts.items() if body is None]
        self._many("DELETE FROM parts WHERE (id, key) IN (VALUES ", "(?,?)", ")", gone)

    def _many(self, head: str, one: str, tail: str, rows: Sequence[Sequence[object]]) -> None:
        """Runs a statement over all rows, in pieces of 2**n rows, so that few statements are ever compiled."""
        at, size = 0, _ROWS_PER_STATEMENT
        while at < len(rows):
            while size > len(rows) - at:
                size //= 2
            piece = rows[at : at + size]
            self._db.execute(head + ",".join([one] * size) + tail, [value for row in piece for value in row])
            at += size

    def close(self) -> None:
        """Folds the log into the main file."""
        self._db.close()
