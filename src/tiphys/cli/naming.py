"""Which workflows a command means: names, ``@latest``, selectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from tiphys.cli.session import Session
from tiphys.machinery.errors import NotFound
from tiphys.machinery.resources import WORKFLOWS, ObjectKey, key_of

LATEST = "@latest"


async def workflow(cluster: Session, name: str) -> Mapping[str, Any]:
    """The workflow of that name in the session's namespace; ``@latest`` is the one created last. Raises NotFound."""
    if name != LATEST:
        return await cluster.client.get(WORKFLOWS, ObjectKey(cluster.namespace, name))
    listed = await cluster.client.list(WORKFLOWS, cluster.namespace)
    # equal seconds are common: the resource version says who came later
    newest = max(listed["items"], key=_age, default=None)
    if newest is None:
        raise NotFound(f"there are no workflows in namespace {cluster.namespace}")
    found: Mapping[str, Any] = newest
    return found


async def keys(cluster: Session, names: Sequence[str], selectors: Mapping[str, str]) -> list[ObjectKey]:
    """Those named, and those that ``selectors`` (labelSelector, fieldSelector) choose.

    Raises click.UsageError when neither says anything. Names are not looked up (the command will hear that one is
    missing), except ``@latest``.
    """
    wanted = [
        key_of(await workflow(cluster, name)) if name == LATEST else ObjectKey(cluster.namespace, name)
        for name in names
    ]
    query = {name: text for name, text in selectors.items() if text}
    if query:
        listed = await cluster.client.list(WORKFLOWS, cluster.namespace, **query)
        wanted += [key_of(found) for found in listed["items"]]
    elif not wanted:
        raise click.UsageError("name a WORKFLOW (or @latest), or choose some with --selector")
    return list(dict.fromkeys(wanted))


def _age(obj: Mapping[str, Any]) -> tuple[str, int]:
    meta = obj["metadata"]
    version = str(meta.get("resourceVersion") or "0")
    return str(meta.get("creationTimestamp") or ""), int(version) if version.isdecimal() else 0
