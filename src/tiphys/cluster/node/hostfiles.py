"""A pod's name on the network and its /etc/hosts and /etc/resolv.conf, as a kubelet makes them. Pure.

Sources: kubernetes pkg/kubelet/kubelet_pods.go (GeneratePodHostNameAndDomain, hostsFileContent) and
pkg/kubelet/network/dns; the recorded pods of ``golden/kubelet``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Object = Mapping[str, Any]

HOSTNAME_MAX = 63
CLUSTER_DOMAIN = "cluster.local"
_HEAD = "# Kubernetes-managed hosts file{how}.\n"
_USUAL = (
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n"
    "fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
)
_ALIASES = "\n# Entries added by HostAliases.\n"
# What the resolver library reads at most (pkg/apis/core/validation).
NAMESERVERS_MAX, SEARCHES_MAX = 3, 32


@dataclass(frozen=True, slots=True)
class Resolver:
    """The entries of a resolv.conf."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeNetwork:
    """What a node tells its pods about the network; ``dns`` is the cluster's own server (None: there is none)."""

    node_name: str
    dns: str | None = None
    domain: str = CLUSTER_DOMAIN
    resolver: Resolver = field(default_factory=Resolver)
    hosts: str = "127.0.0.1 localhost\n"


@dataclass(frozen=True, slots=True)
class Names:
    """``host`` is what ``hostname`` prints; ``domain`` is empty for pods without a subdomain."""

    host: str
    domain: str = ""

    @property
    def full(self) -> str:
        return f"{self.host}.{self.domain}" if self.domain else self.host


def names_of(pod: Object, network: NodeNetwork) -> Names:
    spec, meta = pod["spec"], pod["metadata"]
    if spec.get("hostnameOverride"):
        return Names(spec["hostnameOverride"])
    if spec.get("hostNetwork"):
        return Names(network.node_name)
    host = spec.get("hostname") or meta["name"][:HOSTNAME_MAX].rstrip("-.")
    if not spec.get("subdomain"):
        return Names(host)
    return Names(host, f"{spec['subdomain']}.{meta.get('namespace', '')}.svc.{network.domain}")


def hosts_file(pod: Object, names: Names, addresses: Sequence[str], network: NodeNetwork) -> str:
    spec = pod["spec"]
    if spec.get("hostNetwork"):
        text = _HEAD.format(how=" (host network)") + network.hosts
    else:
        names_here = f"{names.full}\t{names.host}" if names.domain else names.host
        text = _HEAD.format(how="") + _USUAL + "".join(f"{address}\t{names_here}\n" for address in addresses)
    aliases = ["\t".join((alias["ip"], *(alias.get("hostnames") or ()))) for alias in spec.get("hostAliases") or ()]
    return text + _ALIASES + "".join(f"{line}\n" for line in aliases) if aliases else text


def resolver_of(pod: Object, network: NodeNetwork) -> Resolver:
    """What the pod's dnsPolicy and dnsConfig come to."""
    spec = pod["spec"]
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    in_cluster = policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not spec.get("hostNetwork"))
    if policy == "None":
        base = Resolver()
    elif in_cluster and network.dns:
        namespace, domain = pod["metadata"].get("namespace", ""), network.domain
        searches = (f"{namespace}.svc.{domain}", f"svc.{domain}", domain, *network.resolver.searches)
        base = Resolver((network.dns,), searches, ("ndots:5",))
    else:
        base = network.resolver
    return _with_config(base, spec.get("dnsConfig") or {})


def _with_config(base: Resolver, config: Object) -> Resolver:
    options = {name: rest for name, _, rest in (option.partition(":") for option in base.options)}
    for option in config.get("options") or ():
        options[option["name"]] = option.get("value") or ""
    return Resolver(
        tuple(dict.fromkeys((*base.nameservers, *(config.get("nameservers") or ()))))[:NAMESERVERS_MAX],
        tuple(dict.fromkeys((*base.searches, *(config.get("searches") or ()))))[:SEARCHES_MAX],
        tuple(f"{name}:{value}" if value else name for name, value in options.items()),
    )


def resolv_conf(resolver: Resolver) -> str:
    """The file's text, in containerd's order."""
    lines = []
    if resolver.searches:
        lines.append(f"search {' '.join(resolver.searches)}")
    lines += [f"nameserver {server}" for server in resolver.nameservers]
    if resolver.options:
        lines.append(f"options {' '.join(resolver.options)}")
    return "".join(f"{line}\n" for line in lines)


def parse_resolv_conf(text: str) -> Resolver:
    """The machine's own file; the last ``search`` (or ``domain``) line counts, as for the resolver library."""
    nameservers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            nameservers.append(words[1])
        elif words[0] in ("search", "domain"):
            searches = [word.rstrip(".") or "." for word in words[1:]]
        elif words[0] == "options":
            options += words[1:]
    return Resolver(tuple(nameservers), tuple(searches), tuple(dict.fromkeys(options)))
