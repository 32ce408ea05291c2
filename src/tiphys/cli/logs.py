"""``tiphys logs``: what the steps of a workflow printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from tiphys.cli import options
from tiphys.cli.endings import OK

if TYPE_CHECKING:
    from tiphys.cli.pod_logs import LogStream
    from tiphys.cli.session import Session
    from tiphys.machinery.resources import ObjectKey


@click.command("logs")
@click.argument("name", metavar="WORKFLOW|@latest")
@click.argument("pod", required=False, metavar="[POD]")
@options.namespace()
@click.option("-c", "--container", metavar="NAME", default="main", show_default=True, help="Which container's.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the workflow ends.")
@click.option("-p", "--previous", is_flag=True, help="Of the container's previous life.")
@click.option("-l", "--selector", metavar="SELECTOR", default="", help="Only pods with these labels.")
@click.option("--grep", metavar="PATTERN", help="Only lines in which this regular expression is found.")
@click.option("--since", metavar="DURATION", type=options.Duration(), help="Only what is not older.")
@click.option("--since-time", metavar="TIME", help="Only what came after (RFC 3339).")
@click.option("--tail", metavar="LINES", type=click.IntRange(min=0), help="Only the last lines of each log.")
@click.option("--timestamps", is_flag=True, help="The time in front of each line.")
@click.option("--no-prefix", is_flag=True, help="Without the step's name in front.")
@click.option("--no-color", is_flag=True, help="No colours.")
@options.cluster()
def command(name: str, pod: str | None, **given: Any) -> int:
    """Print the logs of a workflow's steps, each line with its step in front."""
    from tiphys.cli import session

    if given["since"] and given["since_time"]:
        raise click.UsageError("--since and --since-time cannot be used together")
    return session.run(_logs(name, pod, given))


async def _logs(name: str, pod: str | None, given: dict[str, Any]) -> int:
    from tiphys.cli import naming, session
    from tiphys.machinery.resources import key_of

    stream = stream_of(given, pod)
    async with session.remote(given) as cluster:
        key = key_of(await naming.workflow(cluster, name))
        if given["follow"]:
            await _follow(cluster, key, stream)
        elif not await stream.print_all(cluster.client, key, given["selector"]):
            click.echo(f"tiphys: {key.name} has no pods (any more)", err=True)
    return OK


async def _follow(cluster: Session, key: ObjectKey, stream: LogStream) -> None:
    import asyncio

    from tiphys.app.follow import follow

    streaming = asyncio.ensure_future(stream.follow(cluster.client, key))
    try:
        async for _ in follow(cluster.client, [key]):
            pass
        await stream.drained()
        await stream.print_all(cluster.client, key)
    finally:
        streaming.cancel()


def stream_of(given: Mapping[str, Any], pod: str | None) -> LogStream:
    from tiphys.cli.pod_logs import LogStream
    from tiphys.machinery import selectors

    labels = selectors.parse_labels(given["selector"])

    def wanted(candidate: Mapping[str, Any]) -> bool:
        meta = candidate["metadata"]
        return (pod is None or meta["name"] == pod) and labels.matches(meta.get("labels"))

    return LogStream(
        lambda line: print(line, flush=True),
        options.look(no_color=given["no_color"], no_utf8=False),
        query(given),
        wanted,
        keep=matcher(given["grep"]),
        prefix=not given["no_prefix"],
        forgiving=False,
    )


def query(given: Mapping[str, Any]) -> dict[str, str]:
    """The query parameters of the pods' logs."""
    found = {"container": given["container"]}
    if given["previous"]:
        found["previous"] = "true"
    if given["since"]:
        found["sinceSeconds"] = str(max(1, int(given["since"])))
    if given["since_time"]:
        found["sinceTime"] = given["since_time"]
    if given["tail"] is not None:
        found["tailLines"] = str(given["tail"])
    if given["timestamps"]:
        found["timestamps"] = "true"
    return found


def matcher(pattern: str | None) -> Callable[[str], bool]:
    if pattern is None:
        return lambda line: True
    import re2

    try:
        compiled = re2.compile(pattern)
    except re2.error as err:
        raise click.UsageError(f"--grep: {err}") from err
    return lambda line: compiled.search(line) is not None
