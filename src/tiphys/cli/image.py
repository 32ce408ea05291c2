"""``tiphys image``: the images that containers on this machine are made from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

as_json = click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
MEGABYTE = 1_000_000


@click.group("image")
def command() -> None:
    """Pull, load, list and remove container images."""


@command.command("pull")
@click.argument("names", nargs=-1, required=True)
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@as_json
def pull(names: tuple[str, ...], quiet: bool, output: str) -> int:
    """Bring images from their registries into the store, and unpack them."""
    import asyncio

    from tiphys.app import images
    from tiphys.app.settings import load

    settings = load({})
    line = _ProgressLine(enabled=not quiet and output == "table" and sys.stderr.isatty())
    rows = []
    for name in names:
        rows.append(asyncio.run(images.pull(settings, name, line.show)))
        line.clear()
    _print(rows, output)
    return 0


@command.command("load")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--name", default="", help="What to call the only image of a file.")
@as_json
def load_files(files: tuple[Path, ...], name: str, output: str) -> int:
    """Bring images from OCI layouts (directory or tar) and `docker save` archives into the store."""
    from tiphys.app import images
    from tiphys.app.settings import load

    settings = load({})
    _print([row for file in files for row in images.load(settings, file, name)], output)
    return 0


@command.command("ls")
@as_json
def ls(output: str) -> int:
    """List the images in the store."""
    from tiphys.app import images
    from tiphys.app.settings import load

    _print(images.rows(load({})), output)
    return 0


@command.command("rm")
@click.argument("names", nargs=-1, required=True)
def rm(names: tuple[str, ...]) -> int:
    """Take images out of the store by name, digest or the beginning of their id."""
    from tiphys.app import images
    from tiphys.app.settings import load

    settings = load({})
    for name in names:
        click.echo(f"{images.remove(settings, name)} removed")
    return 0


@command.command("gc")
@click.option("--all", "every", is_flag=True, help="All images in which no container runs, not only what has no name.")
@as_json
def gc(every: bool, output: str) -> int:
    """Take away what no image in the store needs any more."""
    from tiphys.app import images
    from tiphys.app.settings import load

    done = images.collect(load({}), every=every)
    if output == "json":
        _json(done)
    else:
        click.echo(
            f"{done['roots']} root file systems and {done['blobs']} blobs removed, {_size(done['freedBytes'])} freed"
        )
    return 0


@command.command("map")
@click.argument("name", default="")
@as_json
def show_map(name: str, output: str) -> int:
    """Show which programs of this machine stand for which images where no registry answers."""
    from tiphys.app import images
    from tiphys.app.settings import load

    rows = list(images.mapping(load({}), name))
    if output == "json":
        _json(rows)
        return 0
    for row in rows:
        needs = f"   needs {', '.join(row['needs'])}" if row["needs"] else ""
        click.echo(f"{row['name']:<14}{' '.join(row['match'])}{needs}")
    if name and not rows:
        click.echo(f"no entry of the image map serves {name}", err=True)
        return 1
    return 0


def _print(rows: list[Any], output: str) -> None:
    if output == "json":
        _json([vars(row) for row in rows])
        return
    widths = max([len("NAME"), *(len(row.name) for row in rows)])
    click.echo(f"{'NAME':<{widths}}  {'DIGEST':<19}  {'SIZE':>9}")
    for row in rows:
        click.echo(f"{row.name:<{widths}}  {row.digest[:19]}  {_size(row.size_bytes):>9}")


def _json(value: Any) -> None:
    import orjson

    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def _size(count: int) -> str:
    return f"{count / MEGABYTE:.1f} MB"


class _ProgressLine:
    """One line that is written over: how much of which layers is here."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._layers: dict[str, tuple[int, int]] = {}

    def show(self, digest: str, here: int, size: int) -> None:
        self._layers[digest] = here, size
        if self._enabled:
            have, total = (sum(column) for column in zip(*self._layers.values(), strict=True))
            sys.stderr.write(f"\r\x1b[K{len(self._layers)} layers  {_size(have)} of {_size(total)}")
            sys.stderr.flush()

    def clear(self) -> None:
        self._layers.clear()
        if self._enabled:
            sys.stderr.write("\r\x1b[K")
