"""Nodes and namespaces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tiphys.api import internal_names
from tiphys.cluster.apiserver.metadata import finalizer_complaints
from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.affinity import effect_complaints
from tiphys.cluster.apiserver.rules.amounts import amount
from tiphys.cluster.apiserver.rules.values import Fields, cidr, duplicate, label_key, sloppy_network
from tiphys.lang import name_rules


def node(obj: Object, old: Object | None) -> Iterator[Complaint]:
    spec = obj.get("spec") or {}
    if old is not None:
        yield from _amounts(obj.get("status") or {})
        yield from _addresses((obj.get("status") or {}).get("addresses") or ())
        yield from _changes(spec, old.get("spec") or {})
        yield from _taints(spec.get("taints") or (), "metadata.taints")
        return
    yield from _taints(spec.get("taints") or (), "metadata.taints")
    yield from _amounts(obj.get("status") or {})
    networks = spec.get("podCIDRs") or []
    for number, text in enumerate(networks):
        yield from cidr(text, f"spec.podCIDRs[{number}]")
    if len(networks) > 1:
        versions = {found.version for text in networks if (found := sloppy_network(text)) is not None}
        if len(versions) < 2 or len(networks) > 2:
            yield invalid_value("spec.podCIDRs", networks, "may specify no more than one CIDR for each IP family")


def _taints(taints: Sequence[Fields], at: str) -> Iterator[Complaint]:
    seen: set[tuple[str, str]] = set()
    for number, taint in enumerate(taints):
        here = f"{at}[{number}]"
        key, value, effect = (taint.get(field) or "" for field in ("key", "value", "effect"))
        yield from label_key(key, f"{here}.key")
        problems = name_rules.label_value(value)
        if problems:
            yield invalid_value(f"{here}.value", value, ";".join(problems))
        if not effect:
            yield required(f"{here}.effect")
        else:
            yield from effect_complaints(effect, f"{here}.effect")
        if (effect, key) in seen:
            told = duplicate(here, internal_names.shown("core.Taint", taint))
            yield told._replace(message=f"{told.message}: taints must be unique by key and effect pair")
        seen.add((effect, key))


def _amounts(status: Fields) -> Iterator[Complaint]:
    for side in ("capacity", "allocatable"):
        for name, value in sorted((status.get(side) or {}).items()):
            yield from amount(name, value, f"status.{side}.{name}")


def _addresses(addresses: Sequence[Fields]) -> Iterator[Complaint]:
    seen: list[Any] = []
    for number, each in enumerate(addresses):
        if each in seen:
            told = {"Type": each.get("type") or "", "Address": each.get("address") or ""}
            yield duplicate(f"status.addresses[{number}]", told)
        seen.append(each)


def _changes(spec: Fields, before: Fields) -> Iterator[Complaint]:
    networks, held = spec.get("podCIDRs") or [], before.get("podCIDRs") or []
    text = 'node updates may not change podCIDR except from "" to valid'
    if held and len(networks) != len(held):
        yield forbidden_value("spec.podCIDRs", text)
    elif held:
        for now, then in zip(networks, held, strict=True):
            if now != then:
                yield forbidden_value("spec.podCIDRs", text)
    if before.get("providerID") and spec.get("providerID") != before["providerID"]:
        text = 'node updates may not change providerID except from "" to valid'
        yield forbidden_value("spec.providerID", text)
    if (spec.get("externalID") or "") != (before.get("externalID") or ""):
        yield forbidden_value("spec.externalID", "may not be updated")


def namespace(obj: Object, old: Object | None) -> Iterator[Complaint]:
    if old is None:
        for finalizer in (obj.get("spec") or {}).get("finalizers") or ():
            for complaint in finalizer_complaints([finalizer], is_custom=False):
                yield complaint._replace(field="spec.finalizers")


def namespace_status(obj: Object, old: Object) -> Iterator[Complaint]:
    del old
    phase, is_ending = (obj.get("status") or {}).get("phase") or "", bool(obj["metadata"].get("deletionTimestamp"))
    wanted = "Terminating" if is_ending else "Active"
    if phase != wanted:
        text = f"may only be '{wanted}' if `deletionTimestamp` is {'not ' if is_ending else ''}empty"
        yield invalid_value("status.Phase", phase, text)
