"""All objects of the cluster: in memory for reading, in a journal for keeping, one resourceVersion for all.

    write ──stage──> staged ──group commit──> durable ──publish──> visible to get, list and watch, then acknowledged

Writers see what is staged (``latest``), readers only what is durable (``get``). While the writer thread commits one
group, the next one gathers: many concurrent writes share one fsync, a lone write waits for nobody. Without a journal a
write is visible when the call returns, with no thread and no waiting: tests and simulations.

A write that changes nothing is the caller's business not to stage. Versions count up by one per write; they are never
used again, also not after a crash, because nobody ever saw the version of a write that was not durable.
"""

from __future__ import annotations

import asyncio
import threading
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, NamedTuple

from tiphys.cluster.apiserver.journal import Group, Journal, JournalError, Row
from tiphys.cluster.apiserver.record import Object, Record, WarmViews, encode
from tiphys.machinery.errors import ServiceUnavailable
from tiphys.machinery.sharedmap import ABSENT, SharedMap

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]
WARM_VIEWS_MAX = 1_000
_ALIKE_MAX = 1_024


class Change(NamedTuple):
    """One write. For DELETED ``record`` is the last state under the deletion's version."""

    collection: str
    type: ChangeType
    record: Record
    previous: Record | None


@dataclass
class Collection:
    """The durable objects of one resource, by ``namespace/name`` and in that order."""

    records: dict[str, Record] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)

    def keys(self, namespace: str | None) -> list[str]:
        """All keys in order, or those of one namespace ("0" is the character after "/")."""
        if namespace is None:
            return self.order
        return self.order[bisect_left(self.order, f"{namespace}/") : bisect_left(self.order, f"{namespace}0")]

    def put(self, record: Record) -> None:
        before = self.records.get(record.key)
        if before is None:
            insort(self.order, record.key)
        else:
            before.is_current = False
        self.records[record.key] = record
        record.is_current = True

    def drop(self, key: str) -> None:
        before = self.records.pop(key, None)
        if before is not None:
            before.is_current = False
            del self.order[bisect_left(self.order, key)]


@dataclass
class _Gathering:
    """The group that the next commit will take."""

    group: Group = field(default_factory=Group)
    changes: list[Change] = field(default_factory=list)
    done: asyncio.Future[None] | None = None


class Store:
    """See the module. ``shared_maps`` names, per collection, the path of the map that is kept entry by entry."""

    def __init__(self, journal: Journal | None = None, shared_maps: dict[str, tuple[str, str]] | None = None) -> None:
        self.version = 0
        self._given = 0
        self._collections: dict[str, Collection] = {}
        self._staged: dict[tuple[str, str], Record | None] = {}
        self._listeners: list[Callable[[list[Change]], None]] = []
        self._shared_maps = shared_maps or {}
        self._warm = WarmViews(WARM_VIEWS_MAX, makes_bytes=journal is None)
        self._alike = _Alike()
        self._gathering = _Gathering()
        self._writer: _Writer | None = None
        self._is_refused = False
        if journal is not None:
            self._load(journal)
            self._writer = _Writer(journal)

    @classmethod
    def open(cls, path: Path, shared_maps: dict[str, tuple[str, str]] | None = None) -> Store:
        """Opens or makes the file; raises JournalError."""
        return cls(Journal(path), shared_maps)

    # Reading: durable states only

    def get(self, collection: str, key: str) -> Record | None:
        found = self._collections.get(collection)
        return found.records.get(key) if found else None

    def view(self, record: Record) -> Object:
        """The record's parsed view, kept parsed for a while."""
        if not record.is_parsed:
            self._warm.add(record)
        return record.view

    def parts_of(self, change: Change) -> int:
        """How many entries the changed object's shared map has; 0 without one."""
        path = self._shared_maps.get(change.collection)
        part = _part(change.record.view, path) if path else None
        return len(part) if part is not None else 0

    def collection(self, name: str) -> Collection:
        return self._collections.setdefault(name, Collection())

    def collections(self) -> Iterable[str]:
        return list(self._collections)

    def subscribe(self, listener: Callable[[list[Change]], None]) -> None:
        """``listener`` gets every group of changes, in order of version, the moment it is durable."""
        self._listeners.append(listener)

    # Writing

    def latest(self, collection: str, key: str) -> Record | None:
        """What the next write builds on: staged, else durable."""
        place = (collection, key)
        return self._staged[place] if place in self._staged else self.get(collection, key)

    def latest_in(self, collection: str, namespace: str) -> Iterator[Record]:
        """All objects of a namespace as the next write finds them, in no order."""
        held = self.collection(collection)
        for key in list(held.keys(namespace)):
            record = self.latest(collection, key)
            if record is not None:
                yield record
        for (name, key), staged in list(self._staged.items()):
            fresh = name == collection and staged is not None and key not in held.records
            if fresh and staged is not None and key.startswith(f"{namespace}/"):
                yield staged

    async def put(self, collection: str, key: str, view: Object) -> Record:
        """Creates or replaces; ``view`` is handed over, its ``metadata.resourceVersion`` is set here.

        Staged before the first suspension. Returns when durable and published; raises ServiceUnavailable when the disk
        refuses (then nothing happened).
        """
        change = self._replacing(collection, key, view)
        await _kept(self._stage(change))
        return change.record

    async def remove(self, collection: str, record: Record) -> Record:
        """Removes the object whose last state is ``record``; returns that state under the removal's version."""
        change = self._removing(collection, record)
        await _kept(self._stage(change))
        return change.record

    async def end(self, collection: str, key: str, view: Object) -> Record:
        """Stores a last state and removes it: two changes to whoever watches, one commit. Returns that state under the
        removal's version."""
        last = self._replacing(collection, key, view)
        self._stage(last)
        change = self._removing(collection, last.record)
        await _kept(self._stage(change))
        return change.record

    def takes_writes(self) -> bool:
        """Whether the disk took the last commit. Where it did not it is tried again, for whoever asks next: those who
        are told that nothing can be written may not write."""
        if self._is_refused and self._writer is not None and not self._writer.is_busy:
            self._writer.commit(Group.of_nothing(self.version), self._tried)
        return not self._is_refused

    def _tried(self, error: JournalError | None) -> None:
        self._is_refused = error is not None
        self._flush()

    def _replacing(self, collection: str, key: str, view: Object) -> Change:
        previous = self.latest(collection, key)
        self._given += 1
        version = self._given
        self._split_out(collection, view)
        view["metadata"]["resourceVersion"] = str(version)
        self._alike.share(view["metadata"])
        record = Record(key, previous.id if previous else version, version, view)
        return Change(collection, "MODIFIED" if previous else "ADDED", record, previous)

    def _removing(self, collection: str, record: Record) -> Change:
        self._given += 1
        previous = self.latest(collection, record.key)
        return Change(collection, "DELETED", record.at_version(self._given), previous)

    def _stage(self, change: Change) -> asyncio.Future[None] | None:
        """The group's future; None where the change is kept already. Both changes of ``end`` are in one group: nothing
        waits between them."""
        if self._writer is None:
            if change.collection not in self._shared_maps:
                self._warm.add(change.record)
            self._publish([change])
            return None
        self._staged[change.collection, change.record.key] = None if change.type == "DELETED" else change.record
        gathering = self._gathering
        if gathering.done is None:
            loop = asyncio.get_running_loop()
            gathering.done = loop.create_future()
            # The group closes at the end of this turn of the loop: what runs concurrently gets in.
            if not self._writer.is_busy:
                loop.call_soon(self._flush)
        gathering.changes.append(change)
        self._journal(change, gathering.group)
        return gathering.done

    def _journal(self, change: Change, group: Group) -> None:
        record = change.record
        group.version = record.version
        if change.type == "DELETED":
            group.remove(record.id)
            return
        path = self._shared_maps.get(change.collection)
        before = _part(change.previous.view, path) if path and change.previous else None
        after = _part(record.view, path) if path else None
        if before is not None or after is not None:
            body = encode(_without_part(record.view, path))
            for key, value in (before or _NO_PARTS).differences(after or _NO_PARTS).items():
                group.parts[record.id, key] = None if value is ABSENT else encode(value)
        else:
            body = record.bytes
            self._warm.add(record)
        namespace, _, name = record.key.rpartition("/")
        group.put(Row(record.id, change.collection, namespace, name, record.version, body))

    def _flush(self) -> None:
        writer = self._writer
        if writer is None or writer.is_busy or self._gathering.done is None:
            return
        taken, self._gathering = self._gathering, _Gathering()
        writer.commit(taken.group, lambda error: self._committed(taken, error))

    def _committed(self, taken: _Gathering, error: JournalError | None) -> None:
        """Back on the loop: publish, then acknowledge, then start what gathered meanwhile."""
        assert taken.done is not None
        self._is_refused = error is not None
        if error is None:
            self._publish(taken.changes)
            _settle(taken.done, None)
        else:
            # What gathered meanwhile was built on states that never came to be.
            later, self._gathering = self._gathering, _Gathering()
            self._staged.clear()
            failure = ServiceUnavailable(str(error))
            for done in (taken.done, later.done):
                if done is not None:
                    _settle(done, failure)
        self._flush()

    def _publish(self, changes: list[Change]) -> None:
        for change in changes:
            collection, record = self.collection(change.collection), change.record
            if change.type == "DELETED":
                collection.drop(record.key)
            else:
                collection.put(record)
            place = (change.collection, record.key)
            if self._staged.get(place, ABSENT) is (None if change.type == "DELETED" else record):
                del self._staged[place]
            self.version = record.version
        for listener in self._listeners:
            listener(changes)

    def _split_out(self, collection: str, view: Object) -> None:
        path = self._shared_maps.get(collection)
        if path is None:
            return
        outer, inner = path
        holder = view.get(outer)
        if isinstance(holder, dict) and isinstance(holder.get(inner), dict) and holder[inner]:
            view[outer] = holder | {inner: SharedMap.of(holder[inner])}

    def _load(self, journal: Journal) -> None:
        self.version = self._given = journal.newest_version()
        parts: dict[int, dict[str, bytes]] = {}
        for id, key, body in journal.parts():
            parts.setdefault(id, {})[key] = body
        for row in journal.objects():
            key = f"{row.namespace}/{row.name}" if row.namespace else row.name
            record = Record(key, row.id, row.version, body=row.body)
            if row.id in parts:
                record = Record(key, row.id, row.version, self._with_parts(row, parts[row.id]))
            self.collection(row.collection).records[key] = record
            record.is_current = True
        for collection in self._collections.values():
            collection.order = sorted(collection.records)

    def _with_parts(self, row: Row, parts: dict[str, bytes]) -> Object:
        outer, inner = self._shared_maps[row.collection]
        view: Object = Record("", 0, 0, body=row.body).view
        view[outer] = view.get(outer, {}) | {inner: SharedMap.of(parts)}
        return view

    async def close(self) -> None:
        """Waits for what is under way, then closes the file. Later writes fail."""
        writer = self._writer
        if writer is None:
            return
        while writer.is_busy or self._gathering.done is not None:
            self._flush()
            await asyncio.sleep(0) if self._gathering.done is None else await asyncio.wait([self._gathering.done])
        writer.stop()


class _Alike:
    """What many objects say in the same words is kept once: the owners and labels of a workflow's pods."""

    def __init__(self) -> None:
        self._known: dict[object, Any] = {}

    def share(self, meta: Object) -> None:
        owners, labels = meta.get("ownerReferences"), meta.get("labels")
        if owners:
            meta["ownerReferences"] = self._one((len(owners), owners[0].get("uid")), owners)
        if labels:
            meta["labels"] = self._one(tuple(labels.items()), labels)

    def _one(self, key: object, value: Any) -> Any:
        known = self._known.get(key)
        if known == value:
            return known
        if len(self._known) >= _ALIKE_MAX:
            self._known.clear()
        self._known[key] = value
        return value


class _Writer:
    """The thread that commits. One group at a time: ``is_busy`` from ``commit`` until its callback ran on the loop."""

    def __init__(self, journal: Journal) -> None:
        self.is_busy = False
        self._journal = journal
        self._work: SimpleQueue[tuple[Group, asyncio.AbstractEventLoop, Callable[[JournalError | None], None]] | None]
        self._work = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="tiphys-store", daemon=True)
        self._thread.start()

    def commit(self, group: Group, done: Callable[[JournalError | None], None]) -> None:
        self.is_busy = True
        self._work.put((group, asyncio.get_running_loop(), done))

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            group, loop, done = work
            error: JournalError | None = None
            try:
                self._journal.commit(group)
            except JournalError as err:
                error = err
            loop.call_soon_threadsafe(self._report, done, error)

    def _report(self, done: Callable[[JournalError | None], None], error: JournalError | None) -> None:
        self.is_busy = False
        done(error)

    def stop(self) -> None:
        self._work.put(None)
        self._thread.join()
        self._journal.close()


async def _kept(done: asyncio.Future[None] | None) -> None:
    """Waits for a group; one who gives up waiting does not stop the others'."""
    if done is not None:
        await asyncio.shield(done)


_NO_PARTS = SharedMap.of({})


def _settle(done: asyncio.Future[None], error: ServiceUnavailable | None) -> None:
    if done.cancelled():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
        done.exception()  # Seen: nobody may be left to wait for it.


def _part(view: Object, path: tuple[str, str] | None) -> SharedMap | None:
    holder = view.get(path[0]) if path else None
    found = holder.get(path[1]) if path and isinstance(holder, dict) else None
    return found if isinstance(found, SharedMap) else None


def _without_part(view: Object, path: tuple[str, str] | None) -> Object:
    if path is None or not isinstance(view.get(path[0]), dict):
        return view
    outer, inner = path
    return view | {outer: {key: value for key, value in view[outer].items() if key != inner}}
