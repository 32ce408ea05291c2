"""Kinds of other projects: what state they are in, out of the box.

One module per family of projects, each with its ``CHECKS``; ``parts`` has what checks are made of. An entry is found by
group and kind, then by the patterns in ``PATTERNS``. The conditions, verdicts and messages are those that Argo CD ships
as Lua scripts (resource_customizations); here they are Python, judged by the same cases (corpus/cd/health).
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import lru_cache

from tiphys.cd.plan.health.builtin import Check
from tiphys.cd.plan.health.others import (
    argo,
    certificates,
    cluster_api,
    crossplane,
    databases,
    flux,
    gateways,
    kruise,
    kubernetes,
    messaging,
    netapp,
    numa,
    observability,
    openshift,
    platforms,
    promoter,
    storage,
    threescale,
    virtual,
)

_FAMILIES = (
    argo,
    certificates,
    cluster_api,
    crossplane,
    databases,
    flux,
    gateways,
    kruise,
    kubernetes,
    messaging,
    netapp,
    numa,
    observability,
    openshift,
    platforms,
    promoter,
    storage,
    threescale,
    virtual,
)
CHECKS: dict[tuple[str, str], Check] = {key: check for family in _FAMILIES for key, check in family.CHECKS.items()}
PATTERNS: dict[str, Check] = {**crossplane.PATTERNS, **gateways.PATTERNS, **observability.PATTERNS}
"""Whole groups, by a pattern of the group's name."""


@lru_cache(maxsize=4096)
def check_for(group: str, kind: str) -> Check | None:
    """The check of a kind, None where we know nothing of it."""
    found = CHECKS.get((group, kind))
    if found is not None:
        return found
    return next((check for pattern, check in PATTERNS.items() if fnmatchcase(group, pattern)), None)
