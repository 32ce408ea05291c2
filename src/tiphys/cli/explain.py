"""``tiphys explain``: what a workflow waits for, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from tiphys.cli import options
from tiphys.cli.endings import OK

if TYPE_CHECKING:
    from tiphys.machinery.actions import Plan


@click.command("explain")
@click.argument("name", metavar="WORKFLOW|@latest|app/NAME")
@options.namespace()
@options.cluster()
def command(name: str, **given: Any) -> int:
    """Say in sentences what a workflow waits for, or why an application is not Synced and Healthy.

    The controller's own decision is made once more, from what the cluster holds now, and not carried out.
    """
    from tiphys.cli import application_plan, session

    kind, _, rest = name.partition("/")
    if rest and kind in ("app", "application", "applications"):
        return session.run(application_plan.explain(rest, given))
    return session.run(_explain(name, given))


async def _explain(name: str, given: dict[str, Any]) -> int:
    from tiphys.app.follow import is_finished
    from tiphys.cli import naming, session
    from tiphys.machinery.resources import key_of
    from tiphys.workflows.plan.artifact_collection import is_concerned
    from tiphys.workflows.preview import preview, preview_artifact_gc

    async with session.remote(given) as cluster:
        workflow = await naming.workflow(cluster, name)
        if is_finished(workflow):
            print("\n".join(how_it_ended(workflow)))
            if is_concerned(workflow):
                plan = await preview_artifact_gc(cluster.client, key_of(workflow), cluster.clock)
                print("\n".join(what_its_artifacts_wait_for(plan)))
            return OK
        plan = await preview(cluster.client, key_of(workflow), cluster.clock)
        print("\n".join(what_it_waits_for(workflow, plan)))
    return OK


def how_it_ended(workflow: Mapping[str, Any]) -> Iterator[str]:
    """The end, and the first steps that went wrong."""
    status = workflow["status"]
    message = f": {status['message']}" if status.get("message") else ""
    yield f"{workflow['metadata']['name']} waits for nothing: it is {status['phase']}{message}"
    nodes = (status.get("nodes") or {}).values()
    wrong = [n for n in nodes if n.get("phase") in ("Failed", "Error") and n.get("type") not in _GROUPS]
    for node in sorted(wrong, key=lambda n: n.get("finishedAt") or "")[:_SHOWN_MAX]:
        yield f"  {_short(node['name'])} {node['phase']}: {node.get('message') or 'no message'}"


def what_its_artifacts_wait_for(plan: Plan) -> Iterator[str]:
    """What keeps artifacts of an ended workflow that are meant to be deleted, and with them the workflow."""
    for sentence in plan.waits.values():
        yield f"  its artifacts wait for {sentence}"


def what_it_waits_for(workflow: Mapping[str, Any], plan: Plan) -> Iterator[str]:
    """Each thing that waits; else what runs."""
    from tiphys.cli import columns, describe, waiting

    name, status = workflow["metadata"]["name"], workflow.get("status") or {}
    yield f"{name}: {describe.status_words(workflow)}" + (f", {status['message']}" if status.get("message") else "")
    nodes = status.get("nodes") or {}
    found = waiting.sentences(workflow, nodes, plan.waits)
    if found:
        yield "waiting:"
        yield from columns.align([[f"  {what}", f"for {sentence}"] for what, sentence in found])
    running = [n for n in nodes.values() if n.get("type") == "Pod" and n.get("phase") in _LIVE]
    if running:
        yield "in pods:"
    for node in running[:_SHOWN_MAX]:
        yield f"  {node['name']} is {node['phase']} {node.get('message') or ''}".rstrip()
    if len(running) > _SHOWN_MAX:
        yield f"  … and {len(running) - _SHOWN_MAX} more pods"
    if not running and not found:
        yield "  nothing is waited for: the controller has not looked at it yet"


def _short(name: str) -> str:
    """A name that recursion made longer than a screen, without its middle."""
    half = _NAME_MAX // 2
    return name if len(name) <= _NAME_MAX else f"{name[:half]}…{name[-half:]}"


_NAME_MAX = 120
_GROUPS = ("StepGroup", "TaskGroup", "Steps", "DAG", "Retry")
_LIVE = ("Pending", "Running")
_SHOWN_MAX = 20
