"""``tiphys plan``: what the first decision about a workflow would create, without running anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from tiphys.cli import options
from tiphys.cli.endings import OK

if TYPE_CHECKING:
    from tiphys.cli.submission import Submission
    from tiphys.machinery.actions import Action, Plan


@click.command("plan")
@click.argument("places", nargs=-1, metavar="[FILE|-|DIR|URL]...")
@options.submission()
@options.namespace("default")
@options.cluster()
@click.option(
    "-o",
    "--output",
    type=click.Choice(["json", "yaml", "diff"]),
    help="The actions as data, pods included; diff: of Applications, what changes, for a pull request.",
)
def command(places: tuple[str, ...], **given: Any) -> int:
    """Show what the first decision about a workflow would create, and why nothing more yet.

    Nothing is run and no cluster is asked: the files are put into an empty API server in memory, and the controller's
    own decision about them is printed instead of carried out.

    Of Applications it is what a sync would change, in order; with --context or --kubeconfig in that cluster.
    """
    from tiphys.cli import application_plan, session, submission

    applications = application_plan.read(places)
    if applications is not None:
        return session.run(application_plan.show(applications, given))

    return session.run(_plan(submission.read(places, given), given))


async def _plan(wanted: Submission, given: dict[str, Any]) -> int:
    from tiphys.app.preview import plans
    from tiphys.cli import output

    found = [(workflow, plan) async for workflow, plan in plans(wanted.objects())]
    if given["output"]:
        data = [{"workflow": w["metadata"]["name"], **as_data(plan)} for w, plan in found]
        text = output.as_json(data) if given["output"] == "json" else output.as_yaml(data)
        print(text, end="")
        return OK
    for index, (workflow, plan) in enumerate(found):
        if index:
            print()
        print("\n".join(describe(workflow, plan)))
    return OK


def describe(workflow: Mapping[str, Any], plan: Plan) -> Iterator[str]:
    """The decision in lines."""
    from tiphys.cli import columns, waiting

    yield f"{workflow['metadata']['name']}: the first decision would"
    rows = [["  " + cells[0], *cells[1:]] for action in plan.actions for cells in action_cells(action)]
    yield from columns.align(rows) if rows else ["  do nothing"]
    if plan.wake_at is not None:
        yield f"  and look again at {plan.wake_at:%H:%M:%S}, or when something changes"
    found = waiting.sentences(workflow, nodes_of(plan), plan.waits)
    if found:
        yield "and nothing more yet, because these wait for"
        yield from columns.align([[f"  {what}", sentence] for what, sentence in found])


def nodes_of(plan: Plan) -> dict[str, Mapping[str, Any]]:
    """The nodes that the decision's status patches name: all there are, in a first decision."""
    from tiphys.machinery.actions import Patch

    return {
        node_id: node
        for action in plan.actions
        if isinstance(action, Patch) and isinstance(action.patch, Mapping)
        for node_id, node in ((action.patch.get("status") or {}).get("nodes") or {}).items()
        if isinstance(node, Mapping)
    }


def action_cells(action: Action) -> Iterator[list[str]]:
    """One action as verb, object, remark; the steps that a status patch moves get a line each."""
    from tiphys.machinery.actions import Create, Delete, Patch
    from tiphys.machinery.resources import key_of

    match action:
        case Create(resource, obj, why):
            yield ["create", f"{resource.kind} {key_of(obj)}", why]
        case Patch(resource, key, patch, why=why):
            yield ["patch", f"{resource.kind} {key}", why or _phase(patch)]
            yield from (["", f"  {name}", phase] for name, phase in moved(patch))
        case Delete(resource, key, why=why):
            yield ["delete", f"{resource.kind} {key}", why]
        case _:
            yield ["record", f"{action.type} event {action.reason}", action.message]


def moved(patch: Any) -> Iterator[tuple[str, str]]:
    """``(node name, phase)`` of the nodes that a status patch names."""
    status = patch.get("status") if isinstance(patch, Mapping) else None
    for node in ((status or {}).get("nodes") or {}).values():
        if isinstance(node, Mapping) and node.get("name"):
            yield str(node["name"]), f"{node.get('type', '')} {node.get('phase', '')} {node.get('message', '')}".strip()


def _phase(patch: Any) -> str:
    status = patch.get("status") if isinstance(patch, Mapping) else None
    return str((status or {}).get("phase") or "")


def as_data(plan: Plan) -> dict[str, Any]:
    """The plan as plain values."""
    from tiphys.machinery.actions import Create, Delete, Patch

    def one(action: Action) -> dict[str, Any]:
        match action:
            case Create(resource, obj, why):
                return {"do": "create", "kind": resource.kind, "why": why, "object": obj}
            case Patch(resource, key, patch, kind, why=why):
                return {
                    "do": "patch",
                    "kind": resource.kind,
                    "name": str(key),
                    "why": why,
                    "type": kind.value,
                    "patch": patch,
                }
            case Delete(resource, key, why=why):
                return {"do": "delete", "kind": resource.kind, "name": str(key), "why": why}
            case _:
                return {"do": "event", "type": action.type, "reason": action.reason, "message": action.message}

    return {
        "stages": [[one(action) for action in stage] for stage in plan.stages],
        "wakeAt": plan.wake_at.isoformat() if plan.wake_at else None,
        "waits": dict(plan.waits),
    }
