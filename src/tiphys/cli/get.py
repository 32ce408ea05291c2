"""``tiphys get``: what a workflow is and how far it is, with its tree."""

from __future__ import annotations

from typing import Any

import click

from tiphys.cli import acting, options
from tiphys.cli.endings import OK


@click.command("get")
@click.argument("names", nargs=-1, required=True, metavar="WORKFLOW|@latest...")
@options.namespace()
@click.option(
    "-o",
    "--output",
    type=click.Choice(["wide", "short", "json", "yaml", "name"]),
    help="More columns, only the tree, or the object.",
)
@click.option("--status", metavar="PHASE", help="Only steps of this phase.")
@click.option("--node-field-selector", metavar="SELECTOR", help="Only steps with these fields, as in phase=Failed.")
@options.drawing()
@options.cluster()
def command(names: tuple[str, ...], **given: Any) -> int:
    """Show workflows as a page with a tree."""
    from tiphys.cli import session

    if given["status"] and given["node_field_selector"]:
        raise click.UsageError("--status and --node-field-selector cannot be used together")
    return session.run(_get(names, given))


async def _get(names: tuple[str, ...], given: dict[str, Any]) -> int:
    from tiphys.cli import describe, naming, output, session

    shown = acting.node_filter(f"phase={given['status']}" if given["status"] else given["node_field_selector"])
    async with session.remote(given) as cluster:
        for name in names:
            workflow = await naming.workflow(cluster, name)
            if given["output"] in ("json", "yaml", "name"):
                print(output.text([workflow], given["output"]), end="")
                continue
            look = options.look(no_color=given["no_color"], no_utf8=given["no_utf8"], columns=given["output"] or "")
            print("\n".join(describe.page(workflow, look, cluster.clock.now(), shown)))
    return OK
