"""The controllers of claims and volumes: binding, directories as volumes, reclaiming, and the two protections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from tiphys.cluster.controllers.kit import NAMESPACED, Controller
from tiphys.cluster.controllers.plan.claims import Observed, plan_claim, plan_volume, unprotected
from tiphys.cluster.controllers.plan.scheduling.volumes import claim_names
from tiphys.cluster.controllers.plan.volumes import CLAIM_PROTECTION, VOLUME_PROTECTION
from tiphys.cluster.controllers.wakes import leaves_protected
from tiphys.machinery.actions import Patch
from tiphys.machinery.errors import Conflict
from tiphys.machinery.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
    ObjectKey,
    key_of,
)
from tiphys.runtime.controller import Outcome

Object = Mapping[str, Any]
# Volumes have no namespace: this one tells their keys from those of claims in one queue.
_VOLUMES: Final = ""


class Places(Protocol):
    """Where volumes are kept that are directories."""

    @property
    def root(self) -> str: ...

    async def discard(self, path: str) -> None:
        """Removes a directory below ``root`` with everything in it; one that is not there is no error."""
        ...


class VolumeController(Controller):
    name = "persistentvolume-controller"
    reads = (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES)

    def subscribe(self) -> None:
        self.on_own(PERSISTENT_VOLUME_CLAIMS)
        self.on(PERSISTENT_VOLUME_CLAIMS, self._on_claim)
        self.on(PERSISTENT_VOLUMES, self._on_volume)
        self.on(STORAGE_CLASSES, self._on_class)

    def _on_claim(self, _key: ObjectKey, before: Object | None, after: Object | None) -> None:
        name = ((after or before or {}).get("spec") or {}).get("volumeName")
        if name:
            self.queue.add(ObjectKey(_VOLUMES, name))

    def _on_volume(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        self.queue.add(key)
        reference = ((after or before or {})["spec"]).get("claimRef")
        if reference:
            self.queue.add(ObjectKey(reference["namespace"], reference["name"]))
        elif before is None:
            for claim in self.cache(PERSISTENT_VOLUME_CLAIMS).objects():
                if not claim["spec"].get("volumeName"):
                    self.queue.add(key_of(claim))

    def _on_class(self, key: ObjectKey, _before: Object | None, after: Object | None) -> None:
        for claim in self.cache(PERSISTENT_VOLUME_CLAIMS).objects():
            if after is not None and claim["spec"].get("storageClassName") == key.name:
                self.queue.add(key_of(claim))

    async def reconcile(self, key: ObjectKey) -> Outcome:
        try:
            await (self._volume(key) if key.namespace == _VOLUMES else self._claim(key))
        except Conflict:
            self.queue.add(key)
        return None

    async def _claim(self, key: ObjectKey) -> None:
        claim = self.cache(PERSISTENT_VOLUME_CLAIMS).get(key)
        if claim is None:
            return
        kind = self.cache(STORAGE_CLASSES).get(ObjectKey("", claim["spec"].get("storageClassName") or ""))
        volumes = tuple(self.cache(PERSISTENT_VOLUMES).objects())
        seen = Observed(claim, volumes, kind, self.kit.places.root if self.kit.places is not None else "")
        await self.carry_out(*plan_claim(seen).actions)

    async def _volume(self, key: ObjectKey) -> None:
        volume = self.cache(PERSISTENT_VOLUMES).get(key)
        if volume is None:
            return
        reference = volume["spec"].get("claimRef") or {}
        claim_key = ObjectKey(reference.get("namespace", ""), reference.get("name", ""))
        verdict = plan_volume(volume, self.cache(PERSISTENT_VOLUME_CLAIMS).get(claim_key))
        if verdict.discard and self.kit.places is not None:
            await self.kit.places.discard(volume["spec"]["hostPath"]["path"])
        await self.carry_out(verdict.actions)


class ClaimProtectionController(Controller):
    """A claim in use is not deleted before the last pod that uses it is gone."""

    name = "pvc-protection-controller"
    reads = (PERSISTENT_VOLUME_CLAIMS, PODS)

    def subscribe(self) -> None:
        self.on_own(PERSISTENT_VOLUME_CLAIMS)
        self.on(PODS, self._on_pod)

    def _on_pod(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        if after is None and before is not None:
            for name in claim_names(before):
                self.queue.add(ObjectKey(key.namespace, name))

    async def reconcile(self, key: ObjectKey) -> Outcome:
        claim = self.cache(PERSISTENT_VOLUME_CLAIMS).get(key)
        if claim is None or not leaves_protected(claim):
            return None
        pods = self.cache(PODS).indexed(NAMESPACED, key.namespace)
        if not any(pod["spec"].get("nodeName") and key.name in claim_names(pod) for pod in pods):
            patch = unprotected(claim, CLAIM_PROTECTION)
            await self.carry_out([Patch(PERSISTENT_VOLUME_CLAIMS, key, patch, why="no pod uses it")])
        return None


class VolumeProtectionController(Controller):
    """A bound volume is not deleted before its claim is."""

    name = "pv-protection-controller"
    reads = (PERSISTENT_VOLUMES,)

    def subscribe(self) -> None:
        self.on_own(PERSISTENT_VOLUMES)

    async def reconcile(self, key: ObjectKey) -> Outcome:
        volume = self.cache(PERSISTENT_VOLUMES).get(key)
        if volume is None or not leaves_protected(volume) or (volume.get("status") or {}).get("phase") == "Bound":
            return None
        patch = unprotected(volume, VOLUME_PROTECTION)
        await self.carry_out([Patch(PERSISTENT_VOLUMES, key, patch, why="no claim is bound to it")])
        return None
