"""PersistentVolumeClaims."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.values import in_form, one_of
from tiphys.lang import name_rules
from tiphys.machinery.quantities import is_quantity, parse

ACCESS_MODES: Final = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")


def claim(obj: Object, old: Object | None) -> Iterator[Complaint]:
    del old
    yield from claim_spec(obj.get("spec") or {}, "spec")


def claim_spec(spec: dict[str, Any], at: str) -> Iterator[Complaint]:
    modes = spec.get("accessModes") or []
    if not modes:
        yield required(f"{at}.accessModes", "at least 1 access mode is required")
    for mode in modes:
        if mode not in ACCESS_MODES:
            yield unsupported(f"{at}.accessModes", mode, ACCESS_MODES)
    if len(modes) > 1 and "ReadWriteOncePod" in modes:
        yield forbidden_value(f"{at}.accessModes", "may not use ReadWriteOncePod with other access modes")
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if size is None:
        yield required(f"{at}.resources[storage]")
    elif is_quantity(str(size)) and parse(str(size)).sign <= 0:
        yield invalid_value(f"{at}.resources[storage]", str(size), "must be greater than zero")
    if spec.get("storageClassName"):
        yield from in_form(spec["storageClassName"], f"{at}.storageClassName", name_rules.dns1123_subdomain)
    yield from one_of(spec, at, "volumeMode", ("Block", "Filesystem"))
