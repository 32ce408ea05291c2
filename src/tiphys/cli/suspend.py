"""``tiphys suspend``: holds workflows: what runs goes on, nothing new starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tiphys.cli import acting

if TYPE_CHECKING:
    from tiphys.cli.session import Session
    from tiphys.machinery.resources import ObjectKey


@click.command("suspend")
@acting.chosen()
def command(names: tuple[str, ...], **given: Any) -> int:
    """Suspend workflows: what runs goes on, nothing new starts until `tiphys resume`."""
    return acting.act(names, given, _suspend)


async def _suspend(cluster: Session, key: ObjectKey) -> str:
    from tiphys.workflows.plan import interventions

    await acting.patch_if(cluster, key, interventions.suspend, {"spec": {"suspend": True}})
    return f"{key.name} suspended"
