"""The entry point ``tiphys``: finds the verb, loads its file, turns every ending into an exit code.

``tiphys --help`` must feel instant, so nothing is imported at the top of this module that it does not print: the
overview comes from the table below and click itself is loaded only once a verb is named. A verb's module imports
asyncio, aiohttp or yaml inside its functions, never at its top (``tests/unit/cli/test_startup.py`` watches both).

    exit codes   0 everything Succeeded · 1 something did not · 2 wrong use or an invalid manifest · 3 our bug
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import tiphys

if TYPE_CHECKING:
    import click

# section → verb → what it does; the module of a verb is tiphys.cli.<verb> (a trailing _ avoids a keyword or a builtin)
VERBS: dict[str, dict[str, str]] = {
    "Run": {
        "run": "Run workflows from files to the end, here and now",
        "plan": "Show what the first decision about a workflow would create, and why nothing more yet",
        "lint": "Check manifests as the API would, with file, line and field",
    },
    "Keep": {
        "up": "Keep the embedded cluster running (HTTPS, kubeconfig)",
        "status": "Say whether it runs, where, and what is in it",
        "down": "End it",
    },
    "Images": {"image": "Pull, load, list and remove container images"},
    "Look": {
        "list": "List workflows",
        "get": "Show a workflow as a tree",
        "watch": "Follow a workflow's tree to its end",
        "wait": "Wait until workflows have ended",
        "logs": "Print the logs of a workflow's steps",
        "explain": "Say in sentences what a workflow waits for",
    },
    "Act": {
        "submit": "Submit workflows to a running cluster",
        "stop": "Stop workflows; exit handlers still run",
        "terminate": "End workflows at once; exit handlers do not run",
        "suspend": "Hold workflows: nothing new starts",
        "resume": "Let suspended workflows go on",
        "retry": "Run the failed steps of workflows again",
        "resubmit": "Submit workflows again under new names",
        "delete": "Delete workflows",
    },
    "More": {
        "replay": "Decide a flight recording again",
        "completion": "Print the completion script of a shell",
        "version": "Print the version",
    },
}
COMPLETION = "_TIPHYS_COMPLETE"  # set by the shell while it asks for completions (click's convention)
USAGE = "Usage: tiphys COMMAND [OPTIONS] [ARGUMENTS]"


def verbs() -> dict[str, str]:
    """Every verb with its line of help, in the order of the overview."""
    return {verb: line for section in VERBS.values() for verb, line in section.items()}


def overview() -> str:
    """What ``tiphys --help`` prints."""
    lines = ["Argo Workflows on any machine, with or without a cluster.", "", USAGE]
    for section, table in VERBS.items():
        lines += ["", f"{section}:"]
        lines += [f"  {verb:<12}{line}" for verb, line in table.items()]
    lines += ["", "Start with:  tiphys run FILE        More about a command:  tiphys COMMAND --help"]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code (the console script's entry point)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if COMPLETION not in os.environ:
        if not given or given in (["--help"], ["-h"], ["help"]):
            print(overview())
            return 0 if given else 2
        if given == ["--version"]:
            print(tiphys.__version__)
            return 0
    from tiphys.cli.endings import Endings

    with Endings() as ending:
        ending.code = _run(given)
    return ending.code


def _run(given: list[str]) -> int:
    if given[:1] == ["help"]:
        given = [*given[1:2], "--help"]
    code = group().main(args=given, prog_name="tiphys", standalone_mode=False)
    return code if isinstance(code, int) else 0


def group() -> click.Group:
    """All verbs as one click group; a verb's module is imported when it is looked up."""
    import importlib

    import click

    class Lazy(click.Group):
        def list_commands(self, ctx: click.Context) -> list[str]:
            return list(verbs())

        def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
            if name not in verbs():
                return None
            command: click.Command = importlib.import_module(f"tiphys.cli.{name}").command
            return command

        def resolve_command(
            self, ctx: click.Context, args: list[str]
        ) -> tuple[str | None, click.Command | None, list[str]]:
            if args and not args[0].startswith("-") and args[0] not in verbs():
                raise click.UsageError(f"there is no command {args[0]!r}{_did_you_mean(args[0])}", ctx)
            return super().resolve_command(ctx, args)

        def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
            formatter.write(overview() + "\n")

    return Lazy(name="tiphys", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})


def _did_you_mean(word: str) -> str:
    import difflib

    close = difflib.get_close_matches(word, verbs(), n=1)
    return f" (did you mean {close[0]!r}?)" if close else "; see tiphys --help"


if __name__ == "__main__":
    sys.exit(main())
