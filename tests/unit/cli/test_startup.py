"""The command line starts fast: what may not be imported before it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tiphys.cli import main

HEAVY = ("asyncio", "aiohttp", "yaml", "orjson", "cryptography", "sqlite3", "re2", "jq", "ssl", "tiphys.app")
SHOW = """
import sys
from tiphys.cli import main
assert main.main({args!r}) == 0
print(*sys.modules, sep=chr(10))
"""


def imported_by(arguments: list[str]) -> set[str]:
    program = SHOW.format(args=arguments)
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split("\n")
    )


def test_the_overview_loads_not_even_click() -> None:
    assert not imported_by(["--help"]) & {"click", *HEAVY}


@pytest.mark.parametrize("verb", list(main.verbs()))
def test_help_of_a_verb_loads_nothing_heavy(verb: str) -> None:
    assert not imported_by([verb, "--help"]) & set(HEAVY)


def test_a_cluster_in_process_loads_no_http() -> None:
    program = "import sys, tiphys.app.local; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"aiohttp", "jq"} & set(loaded)


def test_the_overview_names_every_verb() -> None:
    text = main.overview()
    assert all(f"\n  {verb:<12}" in text for verb in main.verbs())


def test_a_mistyped_verb_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["versoin"]) == 2
    assert "did you mean 'version'" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_us_back(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["completion", shell]) == 0
    assert main.COMPLETION in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["version", "--short"]) == 0
    assert capsys.readouterr().out.count(".") == 2
