"""The documentation's workshop: writes the pages that come from the program itself, and checks all the others.

    python -m tools.docs            make docs: write docs/reference/{cli,settings}.md, then check
    python -m tools.docs --check    only say what is wrong (the tests do this)

Checked are: every relative link and every ``#anchor`` leads somewhere; every path in backticks that looks like one of
the project's files is there; the generated pages are up to date.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+\s+(.*)$", re.M)
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)
_PATH = re.compile(r"`((?:src|tests|docs|examples|tools|benchmarks)/[\w./-]+\.\w+)(?::\d+)?`")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.docs")
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        for page, text in generated().items():
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text, encoding="utf-8")
    found = list(faults())
    for fault in found:
        print(f"docs: {fault}")
    if not found:
        print(f"docs: {len(pages())} pages are sound")
    return 1 if found else 0


def pages() -> list[Path]:
    """Every page that people read."""
    return sorted([ROOT / "README.md", *(ROOT / "examples").glob("*.md"), *DOCS.rglob("*.md")])


def faults() -> Iterator[str]:
    """What is wrong with the pages, one line each."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        name = page.relative_to(ROOT)
        yield from (f"{name}: link to {target}: {why}" for target, why in broken_links(page, _FENCE.sub("", text)))
        yield from (f"{name}: there is no {path}" for path in _PATH.findall(text) if not (ROOT / path).exists())
    for page, text in generated().items():
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            yield f"{page.relative_to(ROOT)}: not what the program says; run make docs"


def broken_links(page: Path, text: str) -> Iterator[tuple[str, str]]:
    for link in _LINK.finditer(text):
        target = link[1] or link[2]
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        if not goal.exists():
            yield target, "no such file"
        elif anchor and goal.suffix == ".md" and anchor not in anchors(goal.read_text(encoding="utf-8")):
            yield target, "no such heading"


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    return {
        re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        for heading in _HEADING.findall(_FENCE.sub("", text))
    }


# --- pages that the program writes -----------------------------------------------------------------------------------


def generated() -> dict[Path, str]:
    made: dict[str, Callable[[], str]] = {"cli.md": cli_page, "settings.md": settings_page}
    return {DOCS / "reference" / name: make() for name, make in made.items()}


def cli_page() -> str:
    """Every command with its arguments and options, from the program's own help."""
    from tiphys.cli import main as cli

    group = cli.group()
    parent = click.Context(group, info_name="tiphys", **group.context_settings)
    parts = [
        "<!-- written by `make docs` from the program itself -->",
        "# The command line",
        "",
        "Exit codes: **0** everything Succeeded · **1** something did not · **2** wrong use or an invalid manifest ·"
        " **3** a bug of ours.",
        "",
    ]
    for section, verbs in cli.VERBS.items():
        parts.append(f"- **{section}:** " + ", ".join(f"[{verb}](#tiphys-{verb})" for verb in verbs))
    for verb in cli.verbs():
        command = group.get_command(parent, verb)
        assert command is not None, verb
        parts += command_section(command, click.Context(command, info_name=verb, parent=parent))
    return "\n".join(parts) + "\n"


def command_section(command: click.Command, context: click.Context) -> list[str]:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    lines = ["", f"## tiphys {context.info_name}", "", f"    {usage}", "", paragraphs(command.help or "")]
    options = [p for p in command.get_params(context) if isinstance(p, click.Option)]
    rows = [record for option in options if (record := option.get_help_record(context))]
    if rows:
        lines += ["", "| Option | Meaning |", "|---|---|"]
        lines += [f"| `{cell(name)}` | {cell(meaning)} |" for name, meaning in rows]
    return lines


def paragraphs(text: str) -> str:
    """Help text as Markdown: what click keeps verbatim (a paragraph that starts with \\b) becomes a code block."""
    blocks = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text).strip()):
        if block.startswith("\b"):
            blocks.append("\n".join("    " + line.rstrip() for line in block.split("\n")[1:]))
        else:
            blocks.append(" ".join(block.split()))
    return "\n\n".join(blocks)


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def settings_page() -> str:
    from tiphys.app import settings

    lines = [
        "<!-- written by `make docs` from the program itself -->",
        "# Settings",
        "",
        "A value comes from the first of: the command line, the environment (`TIPHYS_` and the name in capitals), the",
        "configuration file (`~/.config/tiphys/config.toml`, or the file that `TIPHYS_CONFIG` names), the default.",
        "",
        "| Setting | Environment | Default | Meaning |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{name}` | `TIPHYS_{name.upper()}` | {'' if default == 'None' else f'`{default}`'} | {cell(meaning)} |"
        for name, default, meaning in settings.describe()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
