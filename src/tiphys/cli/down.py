"""``tiphys down``: ends the embedded cluster that ``tiphys up`` keeps. Its state stays."""

from __future__ import annotations

import click


@click.command("down")
@click.option("--data-dir", metavar="DIR", help="Its data directory [default: ~/.local/state/tiphys].")
def command(data_dir: str | None) -> int:
    """End the embedded cluster; what it holds is kept for the next `tiphys up`."""
    import asyncio

    from tiphys.app import settings, up

    chosen = settings.load({"data_dir": data_dir})
    ended = asyncio.run(up.down(chosen))
    print("Ended" if ended else f"Nothing runs in {up.data_dir_of(chosen).path}")
    return 0
