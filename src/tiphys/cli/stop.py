"""``tiphys stop``: ends workflows early; their exit handlers run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tiphys.cli import acting

if TYPE_CHECKING:
    from tiphys.cli.session import Session
    from tiphys.machinery.resources import ObjectKey


@click.command("stop")
@acting.chosen()
@click.option("--node-field-selector", metavar="SELECTOR", help="Fail suspended steps with these fields instead.")
@click.option("--message", metavar="TEXT", default="", help="What such a step says about its end.")
def command(names: tuple[str, ...], **given: Any) -> int:
    """Stop workflows: nothing new starts, what runs is ended, exit handlers run.

    With --node-field-selector suspended steps are failed, and their workflows go on.
    """
    return acting.act(names, given, lambda cluster, key: _stop(cluster, key, given))


async def _stop(cluster: Session, key: ObjectKey, given: dict[str, Any]) -> str:
    from tiphys.workflows.plan import interventions

    selector = given["node_field_selector"]
    if not selector:
        await acting.patch_if(cluster, key, interventions.stop, {"spec": {"shutdown": "Stop"}})
        return f"{key.name} stopped"
    values = {"phase": "Failed", "message": given["message"]}
    await acting.change(cluster, key, lambda found, now: interventions.set_nodes(found, selector, values, now))
    return f"{key.name}: steps failed"
