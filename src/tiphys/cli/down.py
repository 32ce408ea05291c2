"""``tiphys down``: ends the embedded cluster that ``tiphys up`` keeps. Its state stays."""

from __future__ import annotations

import click


@click.command("down")
@click.option("--data-dir", metavar="DIR", help="Its data directory [default: ~/.local/state/tiphys].")
@click.option("--pods", "with_pods", is_flag=True, help="End the pods, too, as a machine does that shuts down.")
def command(data_dir: str | None, with_pods: bool) -> int:
    """End the embedded cluster; what it holds is kept for the next `tiphys up`.

    Pods go on running meanwhile, and are taken over; `--pods` ends them.
    """
    import asyncio

    from tiphys.app import settings, up

    chosen = settings.load({"data_dir": data_dir})
    ended = asyncio.run(up.down(chosen, with_pods=with_pods))
    print("Ended" if ended else f"Nothing runs in {up.data_dir_of(chosen).path}")
    return 0
