"""``tiphys lint``: what is wrong with manifests, as the controller would see it, without a cluster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from tiphys.cli.endings import OK, WRONG_USE

KIND_WORDS = ("workflows", "workflowtemplates", "clusterworkflowtemplates", "cronworkflows")


@click.command("lint")
@click.argument("places", nargs=-1, required=True, metavar="FILE|-|DIR|URL...")
@click.option(
    "--kinds",
    metavar="KIND,…",
    default="all",
    show_default=True,
    help=f"Only these: {', '.join(KIND_WORDS)}; the others still serve as templates.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["simple", "json"]),
    default="simple",
    show_default=True,
    help="A line per fault, or a JSON list of them.",
)
@click.option("--strict/--no-strict", default=True, show_default=True, help="Refuse fields that do not exist.")
def command(places: tuple[str, ...], kinds: str, output: str, strict: bool) -> int:
    """Check workflows and templates, with file, line and field of each fault.

    References between the given files are followed; templates in a cluster are not. Exit code 0 when nothing is wrong,
    2 when something is.
    """
    from tiphys.cli import loading, sources

    wanted = wanted_kinds(kinds)
    manifests = [m for m in loading.load(sources.read(places)) if m.kind in loading.LINTED_KINDS]
    linted = [m for m in manifests if f"{m.kind.lower()}s" in wanted]
    if not linted:
        raise click.UsageError(f"nothing to lint: no {', '.join(sorted(wanted))} in {', '.join(places)}")
    templates = loading.Templates(manifests)
    found = [fault for manifest in linted for fault in loading.faults(manifest, templates, lint=True, strict=strict)]
    report(found, len(linted), output)
    return WRONG_USE if found else OK


def wanted_kinds(text: str) -> set[str]:
    if text == "all":
        return set(KIND_WORDS)
    words = {word.strip().lower() for word in text.split(",") if word.strip()}
    wanted = {word if word.endswith("s") else word + "s" for word in words}
    unknown = sorted(wanted - set(KIND_WORDS))
    if unknown or not wanted:
        raise click.UsageError(f"--kinds: {', '.join(unknown) or 'empty'}; say some of {', '.join(KIND_WORDS)} or all")
    return wanted


def report(found: Iterable[Any], count: int, output: str) -> None:
    faults = list(found)
    if output == "json":
        from tiphys.cli.output import as_json

        print(as_json([fault.as_json() for fault in faults]), end="")
        return
    for fault in faults:
        print(fault)
    if faults:
        click.echo(f"{len(faults)} {'fault' if len(faults) == 1 else 'faults'} in {count} manifests", err=True)
    else:
        print(f"✔ {count} manifests, nothing wrong")
