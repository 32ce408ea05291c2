"""``tiphys terminate``: ends workflows at once; their exit handlers do not run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tiphys.cli import acting

if TYPE_CHECKING:
    from tiphys.cli.session import Session
    from tiphys.machinery.resources import ObjectKey


@click.command("terminate")
@acting.chosen()
def command(names: tuple[str, ...], **given: Any) -> int:
    """Terminate workflows: everything is ended at once, exit handlers do not run."""
    return acting.act(names, given, _terminate)


async def _terminate(cluster: Session, key: ObjectKey) -> str:
    from tiphys.workflows.plan import interventions

    await acting.patch_if(cluster, key, interventions.terminate, {"spec": {"shutdown": "Terminate"}})
    return f"{key.name} terminated"
