"""``tiphys delete``: deletes workflows with everything that belongs to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tiphys.cli import acting, options

if TYPE_CHECKING:
    from tiphys.cli.session import Session
    from tiphys.machinery.resources import ObjectKey

# a selector that every workflow fits: the flags that narrow the choice begin with all of them
EVERYTHING = "!workflows.argoproj.io/no-such-label"


@click.command("delete")
@click.option("--all", "every", is_flag=True, help="All workflows of the namespace.")
@click.option("--completed", is_flag=True, help="All that have finished.")
@click.option("--resubmitted", is_flag=True, help="All made by `tiphys resubmit`.")
@click.option("--status", metavar="PHASE,…", default="", help="All of these phases.")
@click.option("--prefix", metavar="PREFIX", default="", help="Of those chosen, only names that begin so.")
@click.option("--older", metavar="3h", help="Of those chosen, only the ones finished longer ago than this.")
@click.option("--force", is_flag=True, help="Even when a finalizer holds them (their artifacts may stay behind).")
@acting.chosen()
def command(names: tuple[str, ...], **given: Any) -> int:
    """Delete workflows, their pods and what they kept."""
    given["selector"] = _selector(given)
    return acting.act(names, given, lambda cluster, key: _delete(cluster, key, given))


def _selector(given: dict[str, Any]) -> str:
    from tiphys.cli import listing

    text = listing.label_selector(
        given["selector"], status=[p for p in given["status"].split(",") if p],
        completed=given["completed"], again=given["resubmitted"],
    )  # fmt: skip
    if text:
        return text
    return EVERYTHING if given["every"] or given["prefix"] or given["older"] else ""


async def _delete(cluster: Session, key: ObjectKey, given: dict[str, Any]) -> str:
    from tiphys.machinery.resources import WORKFLOWS

    if not await _is_meant(cluster, key, given):
        return f"{key.name} left alone"
    if given["force"]:
        await acting.patch(cluster, key, {"metadata": {"finalizers": None}})
    await cluster.client.delete(WORKFLOWS, key)
    return f"{key.name} deleted"


async def _is_meant(cluster: Session, key: ObjectKey, given: dict[str, Any]) -> bool:
    from tiphys.cli import listing
    from tiphys.machinery.resources import WORKFLOWS

    if not key.name.startswith(given["prefix"]):
        return False
    if not given["older"]:
        return True
    moment = options.ago(cluster.clock.now(), given["older"])
    return listing.ended_before(await cluster.client.get(WORKFLOWS, key), moment)
