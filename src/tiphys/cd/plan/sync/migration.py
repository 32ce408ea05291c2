"""The patch that moves what a client-side applier owns to the server-side one (client-go csaupgrade)."""

from __future__ import annotations

from typing import Any

from tiphys.cd.plan.objects import Object, metadata_of
from tiphys.machinery.ssa import upgrade_client_side_apply


def migration_patch(obj: Object, old: str, new: str) -> list[dict[str, Any]]:
    """A JSON patch of ``metadata.managedFields``, bound to the object's version."""
    metadata = metadata_of(obj)
    entries = upgrade_client_side_apply(list(metadata.get("managedFields") or ()), {old}, new)
    return [
        {"op": "replace", "path": "/metadata/managedFields", "value": entries},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": metadata.get("resourceVersion", "")},
    ]
