"""``tiphys watch``: a workflow's tree, live, until it ends. Ctrl-C ends the watching, not the workflow."""

from __future__ import annotations

from typing import Any

import click

from tiphys.cli import options
from tiphys.cli.endings import FAILED, OK


@click.command("watch")
@click.argument("names", nargs=-1, required=True, metavar="WORKFLOW|@latest...")
@options.namespace()
@click.option("--log", is_flag=True, help="Stream the logs of all steps above the tree.")
@options.drawing()
@options.cluster()
def command(names: tuple[str, ...], **given: Any) -> int:
    """Follow workflows to their end; Ctrl-C leaves them running. Exit code 1 when one did not succeed."""
    from tiphys.cli import session

    return session.run(_watch(names, given))


async def _watch(names: tuple[str, ...], given: dict[str, Any]) -> int:
    from tiphys.cli import naming, run, session

    async with session.remote(given) as cluster:
        keys = await naming.keys(cluster, names, {})
        outcome = await run.follow(cluster, keys, {**given, "stop_on_interrupt": False})
    return OK if outcome.all_succeeded else FAILED
