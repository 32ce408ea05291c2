"""The order of a sync: phase, wave, kind, name; prunes in reverse waves; dependencies before those who need them.

    PreSync ─► Sync ─► PostSync          (SyncFail stands apart and runs only after a failure)
      each: waves ascending, in a wave kinds as below, in a kind names

What is pruned goes in the mirrored order of creation: the distinct waves of the prune tasks are swapped first with
last. A Namespace or CustomResourceDefinition that would come after the first object needing it moves there, wave and
phase included. Source: gitops-engine pkg/sync (sync_tasks.go, sync_context.go); judged by golden/cd sync-order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Final

from tiphys.cd.plan.markers import SyncPhase, has_option
from tiphys.cd.plan.objects import Object, defined_kind, gvk_of, name_of, namespace_of
from tiphys.cd.plan.sync.tasks import Task

_PHASES: Final[dict[SyncPhase, int]] = {"PreSync": -1, "Sync": 0, "PostSync": 1, "SyncFail": 2}

# Helm's install order, extended; kinds that are not named come last.
_KINDS: Final = (
    "Namespace", "NetworkPolicy", "ResourceQuota", "LimitRange", "PodSecurityPolicy", "PodDisruptionBudget",
    "ServiceAccount", "Secret", "SecretList", "ConfigMap", "StorageClass", "PersistentVolume", "PersistentVolumeClaim",
    "CustomResourceDefinition", "ClusterRole", "ClusterRoleList", "ClusterRoleBinding", "ClusterRoleBindingList",
    "Role", "RoleList", "RoleBinding", "RoleBindingList", "Service", "DaemonSet", "Pod", "ReplicationController",
    "ReplicaSet", "Deployment", "HorizontalPodAutoscaler", "StatefulSet", "Job", "CronJob", "IngressClass", "Ingress",
    "APIService",
)  # fmt: skip
_KIND_RANK: Final = {kind: rank for rank, kind in enumerate(_KINDS)}


def ordered(tasks: Sequence[Task], *, prunes_last: bool) -> list[Task]:
    """The tasks in order; waves of prunes and of moved dependencies are overridden on them."""
    _mirror_prune_waves(tasks)
    _prune_last(tasks, prunes_last)
    result = sorted(tasks, key=_rank)
    _move_dependencies(result, _namespace_made, _namespace_needed)
    _move_dependencies(result, defined_kind, _kind_needed)
    return result


def is_multi_step(tasks: Sequence[Task]) -> bool:
    """Whether the first and the last task differ in phase or wave."""
    return bool(tasks) and (tasks[0].phase, tasks[0].wave) != (tasks[-1].phase, tasks[-1].wave)


def _rank(task: Task) -> tuple[int, int, int, str]:
    return _PHASES[task.phase], task.wave, _KIND_RANK.get(task.gvk.kind, len(_KINDS)), task.name


def _mirror_prune_waves(tasks: Sequence[Task]) -> None:
    by_wave: defaultdict[int, list[Task]] = defaultdict(list)
    for task in tasks:
        if task.is_prune:
            by_wave[task.wave].append(task)
    waves = sorted(by_wave)
    for wave, mirrored in zip(waves, reversed(waves), strict=True):
        for task in by_wave[wave]:
            task.wave_override = mirrored


def _prune_last(tasks: Sequence[Task], everywhere: bool) -> None:
    last = max((task.wave for task in tasks if task.phase == "Sync"), default=0)
    for task in tasks:
        if task.is_prune and (everywhere or has_option(task.live, "PruneLast=true")):
            task.wave_override = max(last, 0) + 1


def _move_dependencies(
    tasks: list[Task],
    makes: Callable[[Object], Hashable | None],
    needs: Callable[[Object], Hashable | None],
) -> None:
    """Moves every task that makes something before the first one that needs it; in place."""
    first_need: dict[Hashable, int] = {}
    for index, task in enumerate(list(tasks)):
        if task.target is None:
            continue
        made = makes(task.target)
        if made is None:
            needed = needs(task.target)
            if needed is not None:
                first_need.setdefault(needed, index)
        elif made in first_need:
            place = first_need[made]
            task.wave_override, task.phase = tasks[place].wave, tasks[place].phase
            tasks.insert(place, tasks.pop(index))
            first_need = {what: at + (at >= place) for what, at in first_need.items()}


def _namespace_made(obj: Object) -> Hashable | None:
    gvk = gvk_of(obj)
    return name_of(obj) if gvk.kind == "Namespace" and not gvk.group else None


def _namespace_needed(obj: Object) -> Hashable | None:
    return namespace_of(obj) or None


def _kind_needed(obj: Object) -> Hashable | None:
    gvk = gvk_of(obj)
    return gvk.group, gvk.kind
