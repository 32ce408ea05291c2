"""``tiphys run``: workflows from files to the end, here and now.

read the files ─► check them ─► start (or join) a cluster ─► apply what is no Workflow ─► submit the Workflows
  ─► follow them with a live tree ─► print the end, exit 0 when all Succeeded
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tiphys.cli import options
from tiphys.cli.endings import FAILED, OK

if TYPE_CHECKING:
    from tiphys.cli.following import Outcome
    from tiphys.cli.session import Session
    from tiphys.cli.submission import Submission

RUNTIMES = ("auto", "sandbox", "oci", "process", "engine", "stage")


@click.command("run")
@click.argument("places", nargs=-1, metavar="[FILE|-|DIR|URL]...")
@options.submission()
@options.namespace()
@click.option("--timeout", metavar="DURATION", type=options.Duration(), help="Terminate what has not ended by then.")
@click.option("--runtime", type=click.Choice(RUNTIMES), help="What runs the pods [default: the best that works].")
@click.option("--stage", metavar="FILE", help="Pods only pretend, in no time, by the rules in this YAML file.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["tree", "json", "yaml", "name"]),
    default="tree",
    show_default=True,
    help="What standard output gets; the objects' final state with json and yaml.",
)
@click.option("--log", is_flag=True, help="Stream the logs of all steps, each line with its step in front.")
@click.option("--keep", metavar="DIR", help="Keep the cluster's data here: objects, logs, artifacts.")
@click.option("--trace", is_flag=True, help="Print the stops that the run passes through the program, with file names.")
@options.cluster()
@options.drawing()
def command(places: tuple[str, ...], **given: Any) -> int:
    """Run workflows to the end, here and now.

    Reads manifests from files, folders, addresses or standard input (-), applies all that is no Workflow (templates,
    config maps, secrets, claims …), submits each Workflow and follows it to the end. No cluster is needed: one is made
    inside the command and is gone afterwards. With --context, --kubeconfig or KUBECONFIG it uses that one instead.

    Ctrl-C stops the workflows as `tiphys stop` does (exit handlers run), a second one terminates them.

    \b
    tiphys run hello.yaml
    tiphys run pipeline.yaml -p date=2026-01-01 --log
    tiphys run templates/ --from workflowtemplate/nightly -o json
    """
    from tiphys.cli import session, submission

    wanted = submission.read(places, given)
    if (given["runtime"] == "stage" or given["stage"]) and not session.names_a_cluster(given):
        from tiphys.testing.stage import Script, run_on_stage

        script = Script.load(Path(given["stage"])) if given["stage"] else Script()
        return run_on_stage(lambda world: _run(wanted, given | {"script": script, "world": world}))
    return session.run(_run(wanted, given))


async def _run(wanted: Submission, given: dict[str, Any]) -> int:
    from tiphys.cli import session

    async with session.for_run(given) as cluster:
        outcome = await follow(cluster, await wanted.submit(cluster), given)
    if given["output"] != "tree":
        from tiphys.cli import output

        print(output.text(list(outcome.workflows.values()), given["output"]), end="", flush=True)
    return OK if outcome.all_succeeded else FAILED


async def follow(cluster: Session, keys: list[Any], given: dict[str, Any]) -> Outcome:
    """Shows the workflows until they have ended; ``given`` are the options of ``run``, ``watch`` or ``submit``."""
    from tiphys.cli.following import Following
    from tiphys.cli.pod_logs import LogStream

    view, look = options.view(given, cluster.clock.now())
    if cluster.where:
        view.say(f"tiphys: {cluster.where}")
    logs = LogStream(view.say, look) if given.get("log") else None
    try:
        following = Following(
            cluster.client, keys, view, cluster.clock,
            timeout_seconds=given.get("timeout"), logs=logs, stop_on_interrupt=given.get("stop_on_interrupt", True),
        )  # fmt: skip
        return await following.to_the_end()
    finally:
        view.close(cluster.clock.now())
