"""Memoization: a node whose key is in the cache takes the outputs from there and runs nothing.

The cache is a ConfigMap labelled as one; each entry is JSON with the node, its outputs and two times. Reading a hit
writes the time of the hit, as the original does (its garbage collection goes by it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson

from tiphys.lang import durations, name_rules
from tiphys.machinery.actions import Create, Patch
from tiphys.machinery.resources import CONFIG_MAPS, ObjectKey
from tiphys.workflows.plan import execute as executor
from tiphys.workflows.plan.canonical import dumps
from tiphys.workflows.plan.nodes import Node, moment, stamp
from tiphys.workflows.plan.problems import Outcome, Problem

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import Call, State
    from tiphys.workflows.plan.templates import Template

LABEL = "workflows.argoproj.io/configmap-type"


def status(template: Template, *, hit: bool) -> dict[str, Any]:
    """``memoizationStatus`` of a node."""
    memo = template["memoize"]
    return {"hit": hit, "key": memo.get("key", ""), "cacheName": _cache_name(memo)}


def look_up(state: State, call: Call, node: Node | None, template: Template) -> Outcome | None:
    """Makes (or updates) the node with what the cache says; an outcome only when the cache cannot be used."""
    memo = template["memoize"]
    try:
        entry = _load(state, _cache_name(memo), str(memo.get("key") or ""))
        outputs, hit = _usable(state, memo, entry)
    except Problem as problem:
        return executor.fail(state, call, node, problem)
    found = status(template, hit=hit)
    if node is None:
        from tiphys.workflows.plan.templates import node_type

        kind = node_type(template)
        node = executor.initialize(state, call, kind, "Pending", template=template, expects_result=kind == "Pod")
        if not hit:
            state.update(node, started_at=state.second)
    state.update(node, memoization=found)
    if hit:
        state.update(node, phase="Succeeded", outputs=outputs, finished_at=state.second)
    return None


def save(state: State, node: Node) -> None:
    """Stores the outputs of a node that succeeded; where that is refused the node is in Error."""
    if node.memoization is None:
        return
    key, name = node.memoization.get("key", ""), node.memoization.get("cacheName", "")
    try:
        known = _config_map(state, name)
        _check_key(key)
    except Problem as problem:
        state.update(node, phase="Error", message=str(problem))
        return
    now = stamp(state.now)
    entry = {"nodeID": node.id, "outputs": node.outputs, "creationTimestamp": now, "lastHitTimestamp": now}
    _write(state, name, key, dumps(entry), exists=known is not None)


def _usable(state: State, memo: Mapping[str, Any], entry: Mapping[str, Any] | None) -> tuple[Any, bool]:
    hit = entry is not None and bool(entry.get("nodeID"))
    max_age = memo.get("maxAge")
    if max_age:
        try:
            age = durations.parse(max_age)
        except ValueError as err:
            raise Problem(f"invalid maxAge: {err}") from err
        created = moment(entry.get("creationTimestamp")) if entry is not None else None
        if created is None or state.now - created > timedelta(microseconds=age / 1000):
            return None, False
    return (entry or {}).get("outputs"), hit


def _load(state: State, name: str, key: str) -> Mapping[str, Any] | None:
    _check_key(key)
    obj = _config_map(state, name)
    raw = ((obj or {}).get("data") or {}).get(key)
    if not raw:
        return None
    try:
        entry: dict[str, Any] = orjson.loads(raw)
    except orjson.JSONDecodeError as err:
        raise Problem(f"malformed cache entry: could not unmarshal JSON; unable to parse: {err}") from err
    _write(state, name, key, dumps({**entry, "lastHitTimestamp": stamp(state.now)}), exists=True)
    return entry


def _config_map(state: State, name: str) -> Mapping[str, Any] | None:
    """The cache as this decision left it. Raises `Problem` for a ConfigMap that is none."""
    obj = state.caches.get(name) or state.lookup.config_map(name)
    if obj is None:
        return None
    label = ((obj.get("metadata") or {}).get("labels") or {}).get(LABEL)
    if label is None:
        raise Problem(f"memoization configmap doesn't have {LABEL} label, refusing to use it")
    if label != "Cache":
        raise Problem(f"memoization configmap doesn't have label {LABEL} = Cache, refusing to use it")
    return obj


def _write(state: State, name: str, key: str, text: str, *, exists: bool) -> None:
    """One action for each cache, whatever is written to it: a decision's actions may be carried out in any order."""
    known = state.caches.get(name) or state.lookup.config_map(name) or {}
    labels = {LABEL: "Cache"}
    data = {**(known.get("data") or {}), key: text}
    state.caches[name] = {"metadata": {"name": name, "labels": labels}, "data": data}
    at = state.cache_writes.setdefault(name, len(state.actions))
    match state.actions[at] if at < len(state.actions) else None:
        case Create(obj=obj) as made:
            state.actions[at] = replace(made, obj={**obj, "data": {**obj["data"], key: text}})
        case Patch(patch=patch) as made:
            state.actions[at] = replace(made, patch={**patch, "data": {**patch["data"], key: text}})
        case _ if exists:
            patch = {"metadata": {"labels": labels}, "data": {key: text}}
            state.actions.append(Patch(CONFIG_MAPS, ObjectKey(state.namespace, name), patch, why="memoize"))
        case _:
            metadata = {"name": name, "namespace": state.namespace, "labels": labels}
            obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {key: text}}
            state.actions.append(Create(CONFIG_MAPS, obj, why="memoize"))


def _check_key(key: str) -> None:
    if not name_rules.is_cache_key(key):
        raise Problem(f"invalid cache key: {key}")


def _cache_name(memo: Mapping[str, Any]) -> str:
    return str(((memo.get("cache") or {}).get("configMap") or {}).get("name", ""))
