"""What the verbs that change workflows share: which ones are meant, the same change for each, what is said about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tiphys.cli import options
from tiphys.cli.endings import FAILED, OK

if TYPE_CHECKING:
    from tiphys.cli.session import Session
    from tiphys.machinery.resources import ObjectKey

F = TypeVar("F", bound=Callable[..., Any])
# what is done to one workflow; returns what to say about it
Change = Callable[["Session", "ObjectKey"], Awaitable[str]]


def chosen() -> Callable[[F], F]:
    """Arguments and options that say which workflows are meant."""
    return options.together(
        click.argument("names", nargs=-1, metavar="[WORKFLOW|@latest]..."),
        options.namespace(),
        click.option("-l", "--selector", metavar="SELECTOR", default="", help="All with these labels."),
        click.option("--field-selector", metavar="SELECTOR", default="", help="All with these fields."),
        click.option("--dry-run", is_flag=True, help="Only say which ones it would be."),
        options.cluster(),
    )


def act(names: tuple[str, ...], given: Mapping[str, Any], change: Change) -> int:
    """Does ``change`` to each chosen workflow; one that is refused does not keep the others from it (exit code 1)."""
    from tiphys.cli import session

    return session.run(_act(names, given, change))


async def _act(names: tuple[str, ...], given: Mapping[str, Any], change: Change) -> int:
    from tiphys.cli import naming, session
    from tiphys.machinery.errors import ApiError
    from tiphys.workflows.plan.problems import Problem

    code = OK
    async with session.remote(given) as cluster:
        selectors = {"labelSelector": given["selector"], "fieldSelector": given["field_selector"]}
        for key in await naming.keys(cluster, names, selectors):
            try:
                print(f"{key.name} (dry run)" if given["dry_run"] else await change(cluster, key), flush=True)
            except (ApiError, Problem) as err:
                click.echo(f"tiphys: {key.name}: {err}", err=True)
                code = FAILED
    return code


async def patch(cluster: Session, key: ObjectKey, changed: Mapping[str, Any]) -> None:
    """A merge patch of a workflow."""
    from tiphys.machinery.resources import WORKFLOWS

    await cluster.client.patch(WORKFLOWS, key, changed)


async def patch_if(
    cluster: Session, key: ObjectKey, allowed: Callable[[Mapping[str, Any]], object], changed: Mapping[str, Any]
) -> None:
    """A merge patch, unless ``allowed`` raises Problem about the workflow as it is."""
    from tiphys.machinery.resources import WORKFLOWS

    allowed(await cluster.client.get(WORKFLOWS, key))
    await patch(cluster, key, changed)


_ATTEMPTS_MAX = 8


async def change(
    cluster: Session, key: ObjectKey, decide: Callable[[Mapping[str, Any], datetime], Mapping[str, Any]]
) -> bool:
    """Reads, decides, writes; again when the workflow changed meanwhile. False when ``decide`` changes nothing."""
    from tiphys.machinery.errors import Conflict
    from tiphys.machinery.resources import WORKFLOWS

    for attempt in range(_ATTEMPTS_MAX):
        found = await cluster.client.get(WORKFLOWS, key)
        wanted = decide(found, cluster.clock.now())
        if wanted == found:
            return False
        try:
            await cluster.client.replace(WORKFLOWS, wanted)
        except Conflict:
            if attempt + 1 == _ATTEMPTS_MAX:
                raise
        else:
            return True
    return False


def node_filter(text: str | None) -> Callable[[Mapping[str, Any]], bool] | None:
    """What ``--node-field-selector`` chooses; None for everything."""
    if not text:
        return None
    from tiphys.machinery import selectors
    from tiphys.workflows.plan.interventions import node_fields

    try:
        selector = selectors.parse_fields(text)
    except selectors.SelectorError as err:
        raise click.UsageError(f"--node-field-selector: {err}") from err
    return lambda node: selector.matches(node_fields(node))
