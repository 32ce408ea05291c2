"""Synchronization: mutexes and semaphores that workflows and templates hold while they run.

`LockTable` is the one place that knows who holds what and who waits; the controller shares it between all runs. It is
pure memory, rebuilt from ``status.synchronization`` of running workflows after a restart, and made to agree with it
where a decision was not stored. A holder is ``namespace/workflow`` or ``namespace/workflow/node``; a lock that frees up
names the workflows to look at in ``woken``.

    waiters queue by priority, then age ── all locks of a holder or none ── the first in the queue (or another node of
    the same workflow) takes the lock when it has room
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from tiphys.lang.names import LockName, NamingError, decode_lock, mutex_lock, semaphore_lock
from tiphys.workflows.plan import execute as executor
from tiphys.workflows.plan import parallelism
from tiphys.workflows.plan.nodes import Node, moment
from tiphys.workflows.plan.problems import Outcome, Problem

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import Call, State
    from tiphys.workflows.plan.templates import Template

LimitOf = Callable[[LockName, str], int]
Synchronization = Mapping[str, Any]
WAITERS_TRIED_MAX = 24


@dataclass(eq=False)
class Waiter:
    key: str
    priority: int
    created: datetime
    index: int = 0

    def before(self, other: Waiter) -> bool:
        if self.priority != other.priority:
            return self.priority > other.priority
        return self.created < other.created


@dataclass(eq=False)
class Queue:
    """A binary heap that sifts as Go's container/heap does, since equals must come out in the same order."""

    items: list[Waiter] = field(default_factory=list)
    by_key: dict[str, Waiter] = field(default_factory=dict)
    changes: int = 0

    def add(self, key: str, priority: int, created: datetime) -> None:
        known = self.by_key.get(key)
        if known is not None:
            if known.priority != priority:
                self.changes += 1
                known.priority = priority
                self._fix(known.index)
            return
        self.changes += 1
        waiter = self.by_key[key] = Waiter(key, priority, created, len(self.items))
        self.items.append(waiter)
        self._up(waiter.index)

    def remove(self, key: str) -> None:
        waiter = self.by_key.pop(key, None)
        if waiter is None:
            return
        self.changes += 1
        index, last = waiter.index, len(self.items) - 1
        if index != last:
            self._swap(index, last)
        self.items.pop()
        if index != last:
            self._fix(index)

    def _fix(self, index: int) -> None:
        if not self._down(index):
            self._up(index)

    def _up(self, index: int) -> None:
        while index > 0:
            parent = (index - 1) // 2
            if not self.items[index].before(self.items[parent]):
                return
            self._swap(index, parent)
            index = parent

    def _down(self, start: int) -> bool:
        index, size = start, len(self.items)
        while (child := 2 * index + 1) < size:
            if child + 1 < size and self.items[child + 1].before(self.items[child]):
                child += 1
            if not self.items[child].before(self.items[index]):
                break
            self._swap(index, child)
            index = child
        return index > start

    def _swap(self, one: int, other: int) -> None:
        items = self.items
        items[one], items[other] = items[other], items[one]
        items[one].index, items[other].index = one, other


@dataclass(eq=False)
class Lock:
    """One lock: a mutex is a semaphore with the limit 1. ``poison`` says why nobody may take it until a restart."""

    name: LockName
    limit: int
    poison: str = ""
    holders: dict[str, None] = field(default_factory=dict)
    pending: Queue = field(default_factory=Queue)

    @property
    def version(self) -> tuple[int, int, int, str]:
        """Differs whenever somebody who waits might get another answer."""
        return self.pending.changes, len(self.holders), self.limit, self.poison

    @property
    def room(self) -> int:
        """How many more may hold it."""
        return max(self.limit - len(self.holders), 0)

    def acquirable(self, key: str, table: LockTable) -> tuple[bool, str]:
        """Whether the holder has the lock or could take it now, and what it waits for if not."""
        if self.poison:
            return False, f"lock {self.name} is in a poisoned state: {self.poison}; manual intervention required"
        if key in self.holders:
            return True, ""
        if self.limit == 0:
            return False, f"Failed to get semaphore limit for {self.name}"
        message = f"Waiting for {self.name} lock. Lock status: {self.limit - len(self.holders)}/{self.limit}"
        if self.pending.items and not _same_workflow(key, self.pending.items[0].key):
            if len(self.holders) < self.limit:
                table.woken.add(_workflow_of(self.pending.items[0].key))
            return False, message
        return len(self.holders) < self.limit, message

    def take(self, key: str, table: LockTable) -> None:
        if key not in self.holders:
            self.holders[key] = None
            self.pending.remove(key)
            self._wake(table)

    def release(self, key: str, table: LockTable) -> None:
        held = key in self.holders
        self.holders.pop(key, None)
        if held and len(self.holders) < self.limit:
            self._wake(table)

    def _wake(self, table: LockTable) -> None:
        room = min(len(self.pending.items), self.limit - len(self.holders))
        for waiter in self.pending.items[: max(room, 0)]:
            table.woken.add(_workflow_of(waiter.key))


@dataclass(eq=False)
class LockTable:
    """See the module. ``woken`` holds keys (``namespace/name``) of workflows whose lock may be free: take them out."""

    locks: dict[str, Lock] = field(default_factory=dict)
    woken: set[str] = field(default_factory=set)

    def restore(self, workflow: Mapping[str, Any], limit_of: LimitOf) -> None:
        """Takes over what a workflow's status says that it holds; a lowered limit does not undo that.

        A lock whose limit or holder cannot be told is poisoned: somebody holds it, so nobody else may take it.
        """
        for kind, name, holder in _holdings((workflow.get("status") or {}).get("synchronization")):
            self._restore(workflow, kind, name, holder, limit_of)

    def agree(self, workflow: Mapping[str, Any]) -> None:
        """Undoes what was decided about a workflow's locks but not stored: its status says what it holds.

        What it gave back and somebody else took in the meantime is theirs; a holder gets all its locks back or none.
        """
        key = f"{workflow['metadata'].get('namespace', '')}/{workflow['metadata']['name']}"
        stored: dict[str, list[Lock]] = {}
        for _, name, holder in _holdings((workflow.get("status") or {}).get("synchronization")):
            lock = self.locks.get(name)
            if lock is not None and not lock.poison and holder:
                with suppress(NamingError, Problem):  # nobody knows whose it is
                    stored.setdefault(_present_holder(workflow, name, holder), []).append(lock)
        for lock in self.locks.values():
            for holder in [h for h in lock.holders if _workflow_of(h) == key]:
                if lock not in stored.get(holder, ()):
                    lock.release(holder, self)
        for holder, locks in stored.items():
            if all(holder in lock.holders or lock.room for lock in locks):
                for lock in locks:
                    lock.take(holder, self)

    def lock(self, name: LockName, limit_of: LimitOf, kind: str = "semaphore") -> Lock:
        """The lock of a name, with its limit as it is now. Raises `Problem` where it has none."""
        known = self.locks.get(str(name))
        limit = limit_of(name, kind)
        if known is None:
            if limit == 0:
                raise Problem(f"failed to initialize semaphore {name} with limit")
            known = self.locks[str(name)] = Lock(name, limit)
        elif limit and limit != known.limit:
            known.limit = limit
        return known

    def forget(self, key: str) -> None:
        """Releases everything that a workflow which is gone held or waited for."""
        for lock in self.locks.values():
            for holder in [h for h in (*lock.holders, *lock.pending.by_key) if _workflow_of(h) == key]:
                lock.pending.remove(holder)
                lock.release(holder, self)

    def _restore(self, workflow: Mapping[str, Any], kind: str, name: str, holder: str, limit_of: LimitOf) -> None:
        lock = self.locks.get(name)
        if lock is None:
            decoded = decode_lock(name)
            lock = self.locks[name] = Lock(decoded, limit_of(decoded, kind))
            if lock.limit == 0:
                why = f"failed to initialize {kind} {name} with limit"
                lock.poison = f"controller could not initialize lock at startup: {why}"
        if lock.poison or not holder:
            return
        try:
            lock.holders[_present_holder(workflow, name, holder)] = None
        except (NamingError, Problem) as err:
            lock.poison = f'controller could not re-establish recorded holder "{holder}" at startup: {err}'


def _holdings(synchronization: Mapping[str, Any] | None) -> list[tuple[str, str, str]]:
    """Everything that ``status.synchronization`` says is held: kind, lock and holder."""
    found: list[tuple[str, str, str]] = []
    for kind in ("semaphore", "mutex"):
        for entry in ((synchronization or {}).get(kind) or {}).get("holding") or ():
            holders = (entry.get("holders") or ()) if kind == "semaphore" else (entry.get("holder") or "",)
            found += [(kind, str(entry.get(kind) or ""), str(holder)) for holder in holders]
    return found


def _present_holder(workflow: Mapping[str, Any], lock: str, holder: str) -> str:
    """A recorded holder as it is written today: old ones were the bare name of the workflow or the id of a node.

    Whether the workflow or one of its templates asks for the lock tells the two apart. Raises `Problem` or
    `NamingError` where neither does.
    """
    if len(holder.split("/")) in (2, 3):
        return holder
    meta, status = workflow["metadata"], workflow.get("status") or {}
    specs = [workflow.get("spec") or {}, status.get("storedWorkflowTemplateSpec") or {}]
    namespace = str(meta.get("namespace", ""))
    key = f"{namespace}/{meta['name']}"
    if any(lock in _lock_names(spec.get("synchronization"), namespace) for spec in specs):
        return key
    templates = [template for spec in specs for template in spec.get("templates") or ()]
    if any(lock in _lock_names(template.get("synchronization"), namespace) for template in templates):
        return f"{key}/{holder}"
    raise Problem(f"was unable to determine level for {lock}")


def _lock_names(wanted: Synchronization | None, namespace: str) -> list[str]:
    found = [str(semaphore_lock(item, namespace)) for item in (wanted or {}).get("semaphores") or ()]
    return found + [str(mutex_lock(item, namespace)) for item in (wanted or {}).get("mutexes") or ()]


def try_acquire(state: State, node_id: str, wanted: Synchronization) -> tuple[bool, str, str]:
    """Takes all locks or none: whether it has them, what to say if not, and the first lock that is missing.

    Updates ``status.synchronization``. Raises `Problem` for a lock that cannot exist.
    """
    holder = f"{state.key}/{node_id}" if node_id else state.key
    items = _items(state, wanted)
    found: list[tuple[str, Lock]] = []
    for kind, name in items:
        lock = state.locks.lock(name, lambda lock_name, kind: limit_of(state, lock_name, kind), kind)
        found.append((kind, lock))
        if holder not in lock.holders and not lock.poison:
            created = moment(state.workflow["metadata"].get("creationTimestamp")) or state.now
            priority = int((state.workflow.get("spec") or {}).get("priority") or 0)
            lock.pending.add(holder, priority, created)
    message, missing = "", ""
    for _, lock in found:
        has, waits_for = lock.acquirable(holder, state.locks)
        if not has and not missing:
            message, missing = waits_for, str(lock.name)
    for kind, lock in found:
        if not missing:
            lock.take(holder, state.locks)
            _note_acquired(state, kind, lock, holder)
        else:
            _note_waiting(state, kind, lock)
    return not missing, message, missing


def acquire_for_node(state: State, call: Call, node: Node | None, template: Template) -> Outcome | None:
    """Takes the locks of a template for its node; an outcome when it must wait (or cannot have them)."""
    try:
        acquired, message, missing = try_acquire(state, call.node_id, template["synchronization"])
    except Problem as problem:
        return executor.fail(state, call, node, problem)
    state.lock_nodes[call.node_id] = None
    if node is not None and node.waiting_for and node.waiting_for != missing:
        state.lock_waits.get(node.waiting_for, {}).pop(node.id, None)
    if acquired:
        if node is not None and (node.waiting_for is not None or node.message):
            state.update(node, waiting_for=None, message="")
        return None
    if node is None:
        node = _waiting_node(state, call, template, message)
    state.lock_waits.setdefault(missing, {})[call.node_id] = None
    state.waits[call.name] = message
    fields: dict[str, Any] = {"waiting_for": missing}
    if message:
        fields["message"] = message
    state.update(node, **fields)
    return Outcome(node)


def _waiting_node(state: State, call: Call, template: Template, message: str) -> Node:
    from tiphys.workflows.plan.templates import node_type

    kind = node_type(template)
    return executor.initialize(
        state, call, kind, "Pending", message=message, template=template, expects_result=kind == "Pod"
    )


def release(state: State, node_id: str, held: Synchronization | None) -> None:
    """Gives back the locks of a node."""
    if held is None:
        return
    holder = f"{state.key}/{node_id}" if node_id else state.key
    try:
        items = _items(state, held)
    except Problem:
        return
    for kind, name in items:
        lock = state.locks.locks.get(str(name))
        if lock is None:
            continue
        had = holder in lock.holders
        lock.release(holder, state.locks)
        lock.pending.remove(holder)
        _note_released(state, kind, str(name), holder)
        if had:
            retry_waiting(state)


def release_finished(state: State) -> None:
    """Gives back what nodes hold that are done: nobody may visit them again (after a restart, in a finished branch)."""
    for kind, name, holder in _holdings(state.status.get("synchronization")):
        node = state.nodes.by_id.get(holder.removeprefix(f"{state.key}/"))
        if node is not None and node.phase_fulfilled:
            _give_back(state, kind, name, f"{state.key}/{node.id}")


def release_held(state: State, node: Node) -> None:
    """Gives back what a node that is done holds, whatever its template says by now."""
    for kind, name, holder in _holdings(state.status.get("synchronization")):
        if holder == f"{state.key}/{node.id}":
            _give_back(state, kind, name, holder)


def _give_back(state: State, kind: str, name: str, holder: str) -> None:
    lock = state.locks.locks.get(name)
    had = lock is not None and holder in lock.holders
    if lock is not None:
        lock.release(holder, state.locks)
        lock.pending.remove(holder)
    _note_released(state, kind, name, holder)
    if had:
        retry_waiting(state)


def release_all(state: State) -> None:
    """Gives back everything at the end of the workflow, and forgets that anything was held or waited for."""
    if state.status.get("synchronization") is None:
        return
    for lock in state.locks.locks.values():
        for holder in [h for h in lock.holders if _workflow_of(h) == state.key]:
            lock.release(holder, state.locks)
        for waiter in [w for w in lock.pending.by_key if _workflow_of(w) == state.key]:
            lock.pending.remove(waiter)
    for node in state.nodes:
        if node.waiting_for is not None:
            state.update(node, waiting_for=None)
    state.lock_waits.clear()
    state.set_status(synchronization=None)


def concern_nodes(state: State) -> bool:
    """Whether nodes that are not done have ``synchronization``: the original writes in every pass over such a node."""
    for node_id in list(state.lock_nodes):
        node = state.nodes.by_id.get(node_id)
        if node is None or node.phase_fulfilled:
            del state.lock_nodes[node_id]
        elif not _is_stalled(state, node):
            return True
    return False


def _is_stalled(state: State, node: Node) -> bool:
    """Whether something above a node is done or cannot be evaluated now, so that a pass does not come to the node."""
    if node.type in ("Steps", "DAG") and parallelism.keeps_out(state, node):
        return True
    while node.boundary_id:
        frame = state.frames.get(node.boundary_id)
        if frame is not None and frame.is_stalled(node.id):
            return True
        boundary = state.nodes.by_id.get(node.boundary_id)
        if boundary is None:
            return False
        if boundary.phase_fulfilled or parallelism.keeps_out(state, boundary):
            return True
        node = boundary
    return False


def retry_waiting(state: State, *, anyway: bool = False) -> None:
    """Marks the nodes that wait for a lock to be looked at again.

    Where many wait only the first, and only if the lock changed: more than may have it, to show them why they wait.
    ``anyway``: its limit may have changed, which is seen only by asking.
    """
    for name, waiting in list(state.lock_waits.items()):
        lock = state.locks.locks.get(name)
        version = lock.version if lock is not None else None
        if len(waiting) > WAITERS_TRIED_MAX and version == state.lock_versions.get(name) and not anyway:
            continue
        state.lock_versions[name] = version
        for node_id in list(islice(waiting, WAITERS_TRIED_MAX + (lock.room if lock is not None else 0))):
            node = state.nodes.by_id.get(node_id)
            if node is None or node.phase_fulfilled:
                del waiting[node_id]
            else:
                state.mark(node_id)
        if not waiting:
            del state.lock_waits[name]


def limit_of(state: State, name: LockName, kind: str) -> int:
    """How many may hold a lock now; 0 where nobody can say. Mutexes: one."""
    if name.kind == "Mutex":
        return 1
    if name.kind == "Database":
        if not state.settings.database_locks:
            raise Problem(f"database session is not available for {kind} {name}")
        return 1 if kind == "mutex" else state.database_limit(name)
    obj = state.lookup.config_map(name.resource, name.namespace)
    value = ((obj or {}).get("data") or {}).get(name.key)
    try:
        return int(str(value))
    except ValueError:
        known = state.locks.locks.get(str(name))
        return known.limit if known is not None else 0


def _items(state: State, wanted: Synchronization) -> list[tuple[str, LockName]]:
    items: list[tuple[str, LockName]] = []
    raw = [("semaphore", item) for item in wanted.get("semaphores") or ()]
    raw += [("mutex", item) for item in wanted.get("mutexes") or ()]
    for index, item in enumerate(raw):
        if item in raw[:index]:
            raise Problem("requested configuration is invalid: duplicate synchronization item found")
        items.append((item[0], _name(state, *item)))
    return items


def _name(state: State, kind: str, item: Mapping[str, Any]) -> LockName:
    namespace = str(item.get("namespace") or state.namespace)
    if kind == "mutex":
        return LockName(namespace, "Database" if item.get("database") else "Mutex", str(item.get("name") or ""))
    ref, database = item.get("configMapKeyRef"), item.get("database")
    if ref and database:
        raise Problem("requested configuration is invalid: invalid semaphore with both ConfigMapKeyRef and Database")
    if ref:
        return LockName(namespace, "ConfigMap", str(ref.get("name") or ""), str(ref.get("key") or ""))
    if database:
        return LockName(namespace, "Database", str(database.get("key") or ""))
    raise Problem(
        "requested configuration is invalid: cannot get LockName for a Semaphore without a ConfigMapRef or Database"
    )


# -- status.synchronization ------------------------------------------------------------------------------------------


def _status_of(state: State, kind: str) -> dict[str, list[dict[str, Any]]]:
    known = (state.status.get("synchronization") or {}).get(kind) or {}
    return {part: [dict(entry) for entry in known.get(part) or ()] for part in ("holding", "waiting")}


def _set_status(state: State, kind: str, parts: dict[str, list[dict[str, Any]]]) -> None:
    made = {part: entries for part, entries in parts.items() if entries}
    known = state.status.get("synchronization") or {}
    state.set_status(synchronization={**known, kind: made})


def _entry(entries: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any] | None:
    return next((entry for entry in entries if entry.get(kind) == name), None)


def _note_acquired(state: State, kind: str, lock: Lock, holder: str) -> None:
    parts, name = _status_of(state, kind), str(lock.name)
    held = _entry(parts["holding"], kind, name)
    if kind == "mutex":
        if held is None:
            parts["holding"].append({kind: name, "holder": holder})
        else:
            held["holder"] = holder
    else:
        if held is None:
            parts["holding"].append({kind: name, "holders": [holder]})
        elif holder not in (held.get("holders") or []):
            held["holders"] = [*(held.get("holders") or []), holder]
        waiting = _entry(parts["waiting"], kind, name)
        if waiting is not None:
            waiting["holders"] = [h for h in waiting.get("holders") or [] if h != holder]
            if not waiting["holders"]:
                parts["waiting"].remove(waiting)
    _set_status(state, kind, parts)


def _note_waiting(state: State, kind: str, lock: Lock) -> None:
    parts, name, holders = _status_of(state, kind), str(lock.name), list(lock.holders)
    waiting = _entry(parts["waiting"], kind, name)
    if kind == "mutex":
        if holders and waiting is None:
            parts["waiting"].append({kind: name, "holder": holders[0]})
        elif holders and waiting is not None:
            waiting["holder"] = holders[0]
    elif waiting is None:
        parts["waiting"].append({kind: name, **({"holders": holders} if holders else {})})
    else:
        waiting.pop("holders", None)
        if holders:
            waiting["holders"] = holders
    _set_status(state, kind, parts)


def _note_released(state: State, kind: str, name: str, holder: str) -> None:
    if (state.status.get("synchronization") or {}).get(kind) is None:
        return
    parts = _status_of(state, kind)
    held = _entry(parts["holding"], kind, name)
    if held is None:
        return
    if kind == "mutex":
        if held.get("holder") == holder:
            parts["holding"].remove(held)
    else:
        holders = [h for h in held.get("holders") or [] if h != holder]
        held.pop("holders", None)
        if holders:
            held["holders"] = holders
    _set_status(state, kind, parts)


def _workflow_of(holder: str) -> str:
    return "/".join(holder.split("/", 2)[:2])


def _same_workflow(one: str, other: str) -> bool:
    first, second = one.split("/"), other.split("/")
    return len(first) == len(second) and first[1] == second[1]
