"""``tiphys list``: the workflows of a namespace."""

from __future__ import annotations

from typing import Any

import click

from tiphys.cli import options
from tiphys.cli.endings import OK


@click.command("list")
@options.namespace()
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")
@click.option("-l", "--selector", metavar="SELECTOR", default="", help="Label selector.")
@click.option("--field-selector", metavar="SELECTOR", default="", help="Field selector, such as metadata.name=x.")
@click.option("--status", metavar="PHASE,…", default="", help="Only these phases.")
@click.option("--running", is_flag=True, help="Only those that have not finished.")
@click.option("--completed", is_flag=True, help="Only those that have finished.")
@click.option("--resubmitted", is_flag=True, help="Only those made by `tiphys resubmit`.")
@click.option("--prefix", metavar="PREFIX", default="", help="Only names that begin so.")
@click.option("--since", metavar="3h", help="Only those created in this time (s, m, h, d).")
@click.option("--older", metavar="3h", help="Only those finished longer ago than this.")
@click.option("-o", "--output", type=click.Choice(["wide", "name", "json", "yaml"]), help="More columns, or objects.")
@click.option("--no-headers", is_flag=True, help="No heading.")
@options.cluster()
def command(**given: Any) -> int:
    """List workflows, those that run first."""
    from tiphys.cli import session

    if given["running"] and given["completed"]:
        raise click.UsageError("--completed and --running cannot be used together")
    return session.run(_list(given))


async def _list(given: dict[str, Any]) -> int:
    from tiphys.cli import listing, session
    from tiphys.machinery.resources import WORKFLOWS

    async with session.remote(given) as cluster:
        now = cluster.clock.now()
        since = options.ago(now, given["since"]) if given["since"] else None
        older = options.ago(now, given["older"]) if given["older"] else None
        labels = listing.label_selector(
            given["selector"], status=[p for p in given["status"].split(",") if p],
            completed=given["completed"], running=given["running"], again=given["resubmitted"],
        )  # fmt: skip
        namespace = None if given["all_namespaces"] else cluster.namespace
        query = {"labelSelector": labels, "fieldSelector": given["field_selector"]}
        listed = await cluster.client.list(WORKFLOWS, namespace, **{k: v for k, v in query.items() if v})
        found = listing.in_order(
            w
            for w in listed["items"]
            if w["metadata"]["name"].startswith(given["prefix"])
            and (since is None or listing.created_after(w, since))
            and (older is None or listing.ended_before(w, older))
        )
        show(found, given, now)
    return OK


def show(found: list[Any], given: dict[str, Any], now: Any) -> None:
    from tiphys.cli import listing, output

    match given["output"]:
        case "json":
            print(output.as_json(found), end="")
        case "yaml":
            print(output.as_yaml(found), end="")
        case "name":
            print(output.text(found, "name"), end="")
        case _:
            wide, everywhere = given["output"] == "wide", given["all_namespaces"]
            lines = listing.table(found, now, wide=wide, namespaces=everywhere, headers=not given["no_headers"])
            print("\n".join(lines))
