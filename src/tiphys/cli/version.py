"""``tiphys version``: ours, and what we present ourselves as to clients."""

from __future__ import annotations

import click

import tiphys

# The versions that clients are told (docs/decisions/0001-contracts.md names the recordings they come from).
SERVES = {"Kubernetes API": "v1.35", "Argo Workflows": "v4.1.2"}


@click.command("version")
@click.option("--short", is_flag=True, help="Only the number.")
def command(short: bool) -> None:
    """Print the version."""
    if short:
        print(tiphys.__version__)
        return
    import platform

    print(f"tiphys          {tiphys.__version__}")
    for name, version in SERVES.items():
        print(f"{name:<16}{version}")
    print(f"Python          {platform.python_version()} ({platform.system()} {platform.machine()})")
