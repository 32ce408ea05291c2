"""``tiphys resubmit``: the same workflow again, under a new name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tiphys.cli import acting, options

if TYPE_CHECKING:
    from tiphys.cli.session import Session
    from tiphys.machinery.resources import ObjectKey


@click.command("resubmit")
@acting.chosen()
@click.option("--memoized", is_flag=True, help="Take over what succeeded (of workflows that failed).")
@click.option(
    "-p",
    "--parameter",
    "parameters",
    metavar="NAME=VALUE",
    type=options.Assignment(),
    multiple=True,
    help="Another value of an input parameter.",
)
def command(names: tuple[str, ...], **given: Any) -> int:
    """Submit workflows again under new names."""
    return acting.act(names, given, lambda cluster, key: _resubmit(cluster, key, given))


async def _resubmit(cluster: Session, key: ObjectKey, given: dict[str, Any]) -> str:
    from tiphys.machinery.resources import WORKFLOWS
    from tiphys.runtime.ids import SystemIds
    from tiphys.workflows.plan import rerun

    again = rerun.resubmit(
        await cluster.client.get(WORKFLOWS, key),
        cluster.clock.now(),
        memoized=given["memoized"],
        suffix=SystemIds().suffix(),
        parameters=dict(given["parameters"]),
    )
    made = await cluster.client.create(WORKFLOWS, again)
    return f"{key.name} resubmitted as {made['metadata']['name']}"
