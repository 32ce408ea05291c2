"""``tiphys replay``: decides a flight recording again, and says where this version decides otherwise."""

from __future__ import annotations

from pathlib import Path

import click

from tiphys.cli.endings import FAILED, OK


@click.command("replay")
@click.argument("recording", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--all", "show_all", is_flag=True, help="Show every decision, not only those that differ.")
def command(recording: Path, show_all: bool) -> int:
    """Decide a flight recording again.

    TIPHYS_FLIGHT_RECORD=FILE (or the setting flight_record) makes one: a line for each decision about a workflow, with
    all that went into it. Decisions depend on nothing else, so a recording of a strange run can be looked into
    anywhere. The exit code is 0 when every decision comes out as recorded.
    """
    from tiphys.cli.output import as_json
    from tiphys.workflows.replay import replay

    decided = differing = 0
    for decision in replay(recording):
        decided += 1
        differing += not decision.is_same
        if show_all or not decision.is_same:
            print(f"{recording}:{decision.line}  {decision.key}  {'same' if decision.is_same else 'differs'}")
        if not decision.is_same:
            print(f"recorded: {as_json(decision.recorded)}now: {as_json(decision.now_decided)}", end="")
    print(f"{decided} decisions, {differing} differ")
    return FAILED if differing else OK
