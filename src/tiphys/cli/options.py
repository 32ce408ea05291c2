"""Options that several verbs share, so that a name means the same everywhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from tiphys.cli.tree import Look

if TYPE_CHECKING:
    from tiphys.cli.progress import View

F = TypeVar("F", bound=Callable[..., Any])


class Duration(click.ParamType[float]):
    """Seconds, written as Go and Argo write durations: ``90s``, ``5m``, ``1h30m``; a bare number counts seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from tiphys.lang import durations

        if isinstance(value, int | float):
            return float(value)
        try:
            seconds = durations.parse_argo(value) / durations.SECOND
        except durations.DurationError as err:
            self.fail(f"{value!r} is not a duration such as 90s, 5m or 1h30m ({err})", param, ctx)
        if seconds <= 0:
            self.fail(f"{value!r} is not a time to wait", param, ctx)
        return seconds


class Assignment(click.ParamType[tuple[str, str]]):
    """``name=value``; the value may hold further ``=``."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not name=value", param, ctx)
        return name, text


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several decorators as one; help shows them in this order."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def namespace(default: str | None = None) -> Callable[[F], F]:
    return click.option("-n", "--namespace", metavar="NAME", default=default, help="Namespace; else the context's.")


def cluster() -> Callable[[F], F]:
    """Which running cluster to talk to."""
    return together(
        click.option("--context", metavar="NAME", help="Context of the kubeconfig: use this running cluster."),
        click.option("--kubeconfig", metavar="FILE", help="Kubeconfig; else $KUBECONFIG, else the one of `tiphys up`."),
    )


def submission() -> Callable[[F], F]:
    """What may be changed about a workflow when it is submitted."""
    return together(
        click.option("-p", "--parameter", "parameters", metavar="NAME=VALUE", type=Assignment(), multiple=True,
                     help="Value of an input parameter; may be repeated."),
        click.option("-f", "--parameter-file", metavar="FILE", help="YAML or JSON file of parameters, name: value."),
        click.option("--entrypoint", metavar="TEMPLATE", help="Start at this template."),
        click.option("--from", "origin", metavar="KIND/NAME",
                     help="Make the workflow from an existing one: workflowtemplate/x, clusterworkflowtemplate/x"
                     " or cronworkflow/x."),
        click.option("--name", metavar="NAME", help="Name of the workflow."),
        click.option("--generate-name", metavar="PREFIX", help="Prefix of the generated name."),
        click.option("--serviceaccount", metavar="NAME", help="Service account of all its pods."),
        click.option("-l", "--labels", metavar="K=V,…", help="Labels to add."),
        click.option("--priority", type=int, metavar="N", help="Priority among waiting workflows."),
    )  # fmt: skip


def drawing() -> Callable[[F], F]:
    return together(
        click.option("--no-color", is_flag=True, help="No colours (also: NO_COLOR in the environment)."),
        click.option("--no-utf8", is_flag=True, help="Words and ASCII instead of symbols."),
    )


def look(stream: TextIO | None = None, *, no_color: bool, no_utf8: bool, columns: str = "") -> Look:
    """How to draw on ``stream`` (standard output): colours on terminals only, symbols where its encoding has them."""
    out = stream or sys.stdout
    plain = no_color or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return Look(colour=not plain and out.isatty(), utf8=not no_utf8 and _can_symbols(out), columns=columns)


def _can_symbols(stream: TextIO) -> bool:
    try:
        "✔├─".encode(getattr(stream, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def ago(now: datetime, since: str) -> datetime:
    """The moment that ``3h`` or ``2d`` ago was. Raises click.UsageError for what is no such time."""
    from tiphys.cli import listing
    from tiphys.lang.durations import DurationError

    try:
        return listing.moment_before(now, since)
    except DurationError as err:
        raise click.UsageError(str(err).strip()) from err


def view(given: dict[str, Any], now: datetime) -> tuple[View, Look]:
    """How progress is shown: on standard output, or on standard error where that is for objects only."""
    from tiphys.cli import progress

    stream = sys.stdout if given.get("output", "tree") == "tree" else sys.stderr
    style = look(stream, no_color=given["no_color"], no_utf8=given["no_utf8"])
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return progress.Live(stream, style), style
    if stream is sys.stdout:
        return progress.Plain(stream, style, now), style
    return progress.Silent(stream), style
