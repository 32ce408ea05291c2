"""``tiphys up``: the embedded cluster as a process of its own, for kubectl, argo, Helm and everything else."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tiphys.app.datadir import ServerInfo


@click.command("up")
@click.option("--data-dir", metavar="DIR", help="Where everything is kept [default: ~/.local/state/tiphys].")
@click.option("--listen", metavar="ADDRESS:PORT", help="Address of the HTTPS API; port 0 takes a free one.")
@click.option("--kubeconfig", metavar="FILE", help="Write the kubeconfig here [default: in the data directory].")
@click.option("--runtime", metavar="NAME", help="What runs pods: auto, sandbox, oci, process, engine or stage.")
@click.option("--simulated-nodes", metavar="N", type=int, help="Add N nodes whose pods only pretend to run.")
@click.option("--network", metavar="NAME", help="Of the pods: auto, bridge, loopback or host.")
@click.option("--gitops", metavar="REPO", help="Keep the cluster as REPO[//PATH][?ref=REVISION] says.")
@click.option("--audit-policy-file", metavar="FILE", help="Audit requests as this Policy (audit.k8s.io/v1) says.")
@click.option("--audit-log", metavar="FILE", help="The audit log, a JSON object a line; - is standard output.")
@click.option("--detach", "-d", is_flag=True, help="Come back when it is Ready; it goes on in the background.")
def command(
    data_dir: str | None,
    listen: str | None,
    kubeconfig: str | None,
    runtime: str | None,
    simulated_nodes: int | None,
    network: str | None,
    gitops: str | None,
    audit_policy_file: str | None,
    audit_log: str | None,
    detach: bool,
) -> int:
    """Keep the embedded cluster running.

    It serves the Kubernetes API over HTTPS on this machine only (unless --listen says otherwise) and writes a
    kubeconfig. Its state is kept in the data directory and survives any end, kill -9 included. Without --detach it
    runs until Ctrl-C.
    """
    import asyncio

    from tiphys.app import settings, up
    from tiphys.app.logs import log

    flags: dict[str, str | int | None] = {
        "data_dir": data_dir,
        "listen": listen,
        "kubeconfig": kubeconfig,
        "runtime": runtime,
        "simulated_nodes": simulated_nodes,
        "network": network,
        "gitops": gitops,
        "audit_policy_file": audit_policy_file,
        "audit_log": audit_log,
    }
    chosen = settings.load(flags)
    if detach:
        given = [part for name, value in flags.items() if value for part in (f"--{name.replace('_', '-')}", str(value))]
        announce(up.detach(chosen, up.tiphys_command("up", *given)), detached=True)
        return 0

    def ready(server: ServerInfo) -> None:
        announce(server, detached=False)
        up.tell_parent()

    log(chosen)
    asyncio.run(up.serve(chosen, ready))
    return 0


def announce(server: ServerInfo, *, detached: bool) -> None:
    print(f"Ready at {server.url}  (pid {server.pid}, runtime {server.runtime})")
    print(f"  export KUBECONFIG={server.kubeconfig}")
    if server.s3:
        print(f"  artifacts as S3 at {server.s3}  (keys: Secret my-minio-cred)")
    print("  tiphys down         ends it" if detached else "  Ctrl-C ends it; what it holds is kept")
    sys.stdout.flush()
