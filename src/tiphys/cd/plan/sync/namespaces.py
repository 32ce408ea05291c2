"""The destination namespace that a sync makes and keeps (``CreateNamespace=true``, ``managedNamespaceMetadata``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiphys.cd.plan.markers import SYNC_OPTIONS
from tiphys.cd.plan.objects import Object, with_metadata
from tiphys.cd.plan.sync.run import NamespaceChange


def namespace_change(sync_policy: Mapping[str, Any] | None) -> NamespaceChange:
    """The change for an application's ``syncPolicy``: made where it is missing, kept where its metadata is managed."""
    managed = (sync_policy or {}).get("managedNamespaceMetadata")

    def change(bare: Object, live: Object | None) -> Object | None:
        if managed is None:
            return bare if live is None else None
        # Server-side apply, so that labels and annotations of others stay.
        annotations = {**(managed.get("annotations") or {}), SYNC_OPTIONS: "ServerSideApply=true"}
        return with_metadata(bare, labels=managed.get("labels") or None, annotations=annotations)

    return change
