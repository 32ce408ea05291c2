"""``tiphys retry``: failed workflows go on where they failed; what succeeded is not run again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tiphys.cli import acting, options

if TYPE_CHECKING:
    from tiphys.cli.session import Session
    from tiphys.machinery.resources import ObjectKey


@click.command("retry")
@acting.chosen()
@click.option("--restart-successful", is_flag=True, help="With --node-field-selector: steps that succeeded as well.")
@click.option("--node-field-selector", metavar="SELECTOR", default="", help="Which steps, as in phase=Failed.")
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
    """Run the failed steps of workflows again."""
    return acting.act(names, given, lambda cluster, key: _retry(cluster, key, given))


async def _retry(cluster: Session, key: ObjectKey, given: dict[str, Any]) -> str:
    from tiphys.machinery.errors import NotFound
    from tiphys.machinery.resources import PODS, WORKFLOWS
    from tiphys.machinery.resources import ObjectKey as Key
    from tiphys.workflows.plan import rerun

    found = await cluster.client.get(WORKFLOWS, key)
    again, pods = rerun.retry(
        found,
        cluster.clock.now(),
        restart_successful=given["restart_successful"],
        node_field_selector=given["node_field_selector"],
        parameters=dict(given["parameters"]),
    )
    for pod in pods:  # first, or the workflow would take what they say for the new attempt's
        try:
            await cluster.client.delete(PODS, Key(key.namespace, pod))
        except NotFound:
            continue
    await cluster.client.replace(WORKFLOWS, again)
    return f"{key.name} goes on"
