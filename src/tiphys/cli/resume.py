"""``tiphys resume``: lets suspended workflows, or suspended steps of them, go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tiphys.cli import acting

if TYPE_CHECKING:
    from tiphys.cli.session import Session
    from tiphys.machinery.resources import ObjectKey


@click.command("resume")
@acting.chosen()
@click.option(
    "--node-field-selector", metavar="SELECTOR", help="Only suspended steps with these fields: displayName=x."
)
def command(names: tuple[str, ...], **given: Any) -> int:
    """Let suspended workflows go on."""
    return acting.act(names, given, lambda cluster, key: _resume(cluster, key, given["node_field_selector"]))


async def _resume(cluster: Session, key: ObjectKey, selector: str | None) -> str:
    from tiphys.workflows.plan import interventions

    if selector:
        await acting.change(
            cluster, key, lambda found, now: interventions.set_nodes(found, selector, {"phase": "Succeeded"}, now)
        )
        return f"{key.name}: steps resumed"
    changed = await acting.change(cluster, key, interventions.resume)
    return f"{key.name} {'resumed' if changed else 'is not suspended'}"
