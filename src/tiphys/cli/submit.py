"""``tiphys submit``: workflows for a cluster that runs already; returns when they are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tiphys.cli import options
from tiphys.cli.endings import FAILED, OK

if TYPE_CHECKING:
    from tiphys.cli.submission import Submission


@click.command("submit")
@click.argument("places", nargs=-1, metavar="[FILE|-|DIR|URL]...")
@options.submission()
@options.namespace()
@click.option("-w", "--wait", is_flag=True, help="Wait for the end; exit code 1 when one did not succeed.")
@click.option("--watch", is_flag=True, help="The same, with the live tree.")
@click.option("--log", is_flag=True, help="The same, with the logs of all steps.")
@click.option("-o", "--output", type=click.Choice(["json", "yaml", "name"]), help="Print the workflows so.")
@options.drawing()
@options.cluster()
def command(places: tuple[str, ...], **given: Any) -> int:
    """Submit workflows to a running cluster.

    Everything else in the files is applied first, as with `tiphys run`.
    """
    from tiphys.cli import session, submission

    return session.run(_submit(submission.read(places, given), given))


async def _submit(wanted: Submission, given: dict[str, Any]) -> int:
    from tiphys.cli import output, run, session
    from tiphys.machinery.resources import WORKFLOWS

    async with session.remote(given) as cluster:
        keys = await wanted.submit(cluster)
        if given["output"]:
            print(output.text([await cluster.client.get(WORKFLOWS, key) for key in keys], given["output"]), end="")
        elif not given["watch"]:
            print("\n".join(f"{key.name} submitted" for key in keys), flush=True)
        if not (given["wait"] or given["watch"] or given["log"]):
            return OK
        shown = {**given, "output": "tree" if given["watch"] or given["log"] else "name", "stop_on_interrupt": False}
        outcome = await run.follow(cluster, keys, shown)
    return OK if outcome.all_succeeded else FAILED
