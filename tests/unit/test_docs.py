"""The documentation says what the program does."""

from __future__ import annotations

import click
import pytest

from tiphys.cli import main as cli
from tools import docs


def test_every_link_leads_somewhere_and_generated_pages_are_up_to_date() -> None:
    assert list(docs.faults()) == []


@pytest.mark.parametrize("verb", list(cli.verbs()))
def test_every_flag_of_a_command_is_documented(verb: str) -> None:
    group = cli.group()
    command = group.get_command(click.Context(group), verb)
    assert command is not None
    page = (docs.DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    section = page.split(f"## tiphys {verb}\n", 1)[1].split("\n## ", 1)[0]
    for parameter in command.params:
        for flag in parameter.opts if isinstance(parameter, click.Option) else ():
            assert f"{flag}" in section, flag
            assert isinstance(parameter, click.Option) and parameter.help, f"{flag} has no help"


def test_broken_links_are_seen(tmp_path: docs.Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A Heading\n")
    text = "[a](nowhere.md) [b](page.md#a-heading) [c](#a-heading) [d](page.md#other) [e](https://x.y)"
    assert [target for target, _ in docs.broken_links(page, text)] == ["nowhere.md", "page.md#other"]
