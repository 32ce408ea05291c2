"""``tiphys status``: whether the embedded cluster runs, and where. Exit code 0 when it is Ready, 1 when it is not."""

from __future__ import annotations

import click


@click.command("status")
@click.option("--data-dir", metavar="DIR", help="Its data directory [default: ~/.local/state/tiphys].")
@click.option("-o", "--output", type=click.Choice(["json"]), help="Print it as JSON.")
def command(data_dir: str | None, output: str | None) -> int:
    """Say whether the embedded cluster runs, and where."""
    from tiphys.app import settings, up

    found = up.status(settings.load({"data_dir": data_dir}))
    if output == "json":
        from dataclasses import asdict

        from tiphys.cli.output import as_json

        print(as_json(asdict(found) | {"data_dir": str(found.data_dir)}), end="")
    elif found.server is not None:
        print(f"Ready at {found.server.url}  (pid {found.server.pid}, runtime {found.server.runtime})")
        print(f"  data        {found.data_dir}")
        print(f"  kubeconfig  {found.server.kubeconfig}")
    elif found.state == "starting":
        print(f"Starting: {found.data_dir} is held by a tiphys that is not Ready yet")
    else:
        print(f"Not running ({found.data_dir}); `tiphys up` starts it")
    return 0 if found.state == "ready" else 1
