"""``tiphys wait``: returns when workflows have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tiphys.cli import options
from tiphys.cli.endings import FAILED, OK

if TYPE_CHECKING:
    from tiphys.cli.session import Session
    from tiphys.machinery.resources import ObjectKey


@click.command("wait")
@click.argument("names", nargs=-1, required=True, metavar="WORKFLOW|@latest...")
@options.namespace()
@click.option("--timeout", metavar="DURATION", type=options.Duration(), help="Wait no longer; then the exit code is 1.")
@click.option("--ignore-not-found", is_flag=True, help="A workflow that is not there counts as done.")
@options.cluster()
def command(names: tuple[str, ...], **given: Any) -> int:
    """Wait until workflows have ended. Exit code 1 when one did not succeed."""
    from tiphys.cli import session

    return session.run(_wait(names, given))


async def _wait(names: tuple[str, ...], given: dict[str, Any]) -> int:
    import asyncio

    from tiphys.cli import naming, session
    from tiphys.machinery.errors import Timeout

    async with session.remote(given) as cluster:
        keys = await naming.keys(cluster, names, {})
        try:
            async with asyncio.timeout(given["timeout"]):
                ended = await asyncio.gather(*(_one(cluster, key, given["ignore_not_found"]) for key in keys))
        except TimeoutError as err:
            raise Timeout("not all workflows have ended in time") from err
    return OK if all(ended) else FAILED


async def _one(cluster: Session, key: ObjectKey, ignore_not_found: bool) -> bool:
    """Whether the workflow succeeded; prints how it ended."""
    from tiphys.app.follow import follow, is_finished
    from tiphys.machinery.errors import NotFound

    try:
        async for workflow in follow(cluster.client, [key]):
            if is_finished(workflow):
                status = workflow["status"]
                print(f"{key.name} {status['phase']} at {status.get('finishedAt')}")
                return bool(status["phase"] == "Succeeded")
    except NotFound:
        if not ignore_not_found:
            raise
    return True
