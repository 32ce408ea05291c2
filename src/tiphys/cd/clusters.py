"""The clusters that applications go to: the one that we run in, and those of cluster secrets.

A secret with the label ``argocd.argoproj.io/secret-type: cluster`` names a server and how to reach it (the original's
format). Live state is kept only of clusters that an application goes to; one that does not answer costs only its own
applications. A secret's ``shard`` says nothing to us: there is one controller for all.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tiphys.cd.kinds import DiscoveredKinds, KindTable
from tiphys.cd.live import LiveCluster, OnChange, Scope
from tiphys.cd.plan.objects import Object
from tiphys.cd.plan.projects import Cluster
from tiphys.cd.plan.settings import Settings
from tiphys.cd.plan.status import is_skipped
from tiphys.cd.plan.validation import IN_CLUSTER
from tiphys.client import kubeconfig
from tiphys.client.client import Client
from tiphys.client.http import HttpTransport
from tiphys.client.transport import Transport
from tiphys.runtime.clock import Clock

logger = logging.getLogger(__name__)

SECRET_TYPE: Final = "argocd.argoproj.io/secret-type"


@dataclass(frozen=True)
class ClusterSecret:
    """A cluster as its secret describes it. ``project`` is set for one that belongs to a project alone.

    ``namespaces`` are all that is looked at, and cluster-wide objects only with ``cluster_resources``; without
    namespaces it is everything. ``is_paused``: nothing is done for its applications.
    """

    cluster: Cluster
    project: str
    config: Mapping[str, Any]
    scope: Scope = field(default_factory=Scope)
    is_paused: bool = False

    @classmethod
    def of(cls, secret: Object) -> ClusterSecret | None:
        """None for a secret that names no server, or whose config is no JSON of the right shape."""
        data = {name: _decoded(value) for name, value in (secret.get("data") or {}).items()}
        server = data.get("server", "").rstrip("/")
        try:
            config = json.loads(data.get("config") or "{}")
        except ValueError:
            return None
        if not server or not _is_config(config):
            return None
        namespaces = tuple(name.strip() for name in data.get("namespaces", "").split(",") if name.strip())
        scope = Scope(namespaces, data.get("clusterResources") == "true")
        known = Cluster(server, data.get("name", "") or server)
        return cls(known, data.get("project", ""), config, scope, is_skipped(secret))

    def connection(self) -> kubeconfig.Cluster:
        """How to reach it."""
        tls, plugin = self.config.get("tlsClientConfig") or {}, self.config.get("execProviderConfig")
        aws = self.config.get("awsAuthConfig")
        credentials = kubeconfig.Credentials(
            certificate=_bytes(tls.get("certData")),
            key=_bytes(tls.get("keyData")),
            token=self.config.get("bearerToken") or None,
            username=self.config.get("username") or None,
            password=self.config.get("password") or None,
            exec=_aws_plugin(aws) if aws else _plugin(plugin) if plugin else None,
        )
        return kubeconfig.Cluster(
            self.cluster.server,
            ca=_bytes(tls.get("caData")),
            insecure=bool(tls.get("insecure")),
            server_name=tls.get("serverName") or None,
            credentials=credentials,
            proxy=self.config.get("proxyUrl") or None,
        )


class ClusterSet:
    """Gives out live clusters by server, and keeps those that are in use up to date."""

    def __init__(
        self,
        own: Client,
        own_kinds: KindTable,
        settings: Callable[[], Settings],
        on_change: OnChange,
        *,
        clock: Clock,
        rng: random.Random,
        connect: Callable[[kubeconfig.Cluster], Transport] = HttpTransport,
    ) -> None:
        self._own = own
        self._own_kinds = own_kinds
        self._settings = settings
        self._on_change = on_change
        self._clock = clock
        self._rng = rng
        self._connect = connect
        self._secrets: dict[str, ClusterSecret] = {}
        self._live: dict[str, LiveCluster] = {}
        self._acting: dict[LiveCluster, dict[str, Client]] = {}
        """By user: clients that act as somebody else."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Watches the clusters in use until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for live in self._live.values():
                self._follow(live)
            await asyncio.Event().wait()

    def set_secrets(self, secrets: Mapping[str, ClusterSecret]) -> None:
        """Takes over the known cluster secrets, by server; clusters that changed are connected to anew."""
        for server in {*self._secrets, *secrets}:  # a new one may be of our own cluster, which is known without
            if secrets.get(server) != self._secrets.get(server):
                self.drop(server)
        self._secrets = dict(secrets)

    @property
    def known(self) -> list[Cluster]:
        return [secret.cluster for secret in self._secrets.values()]

    def of_project(self, project: str) -> list[Cluster]:
        return [secret.cluster for secret in self._secrets.values() if secret.project == project]

    def live(self, cluster: Cluster) -> LiveCluster:
        """The live state of a cluster; connects to it at first use."""
        found = self._live.get(cluster.server)
        if found is None:
            client, kinds = self._reach(cluster)
            secret = self._secrets.get(cluster.server)
            found = self._live[cluster.server] = LiveCluster(
                cluster.server, client, kinds, self._settings(), self._on_change,
                scope=secret.scope if secret else Scope(), clock=self._clock, rng=self._rng,
            )  # fmt: skip
            if self._group is not None:
                self._follow(found)
        return found

    def acting(self, cluster: Cluster, user: str) -> Client:
        """A client that acts as ``user``. Our own cluster is the embedded one, where everybody may do everything."""
        secret = self._secrets.get(cluster.server)
        if secret is None or self._is_own(secret):
            return self._own
        known = self._acting.setdefault(self.live(cluster), {})
        if user not in known:
            known[user] = Client(self._connect(replace(secret.connection(), impersonate=user)))
        return known[user]

    def is_paused(self, cluster: Cluster) -> bool:
        secret = self._secrets.get(cluster.server)
        return secret is not None and secret.is_paused

    def forget(self, instance: str) -> None:
        """An application that is gone wants nothing any more."""
        for live in self._live.values():
            live.forget(instance)

    def drop(self, server: str) -> None:
        """Forgets a cluster; whoever needs it connects anew."""
        self._live.pop(server, None)
        task = self._tasks.pop(server, None)
        if task is not None:
            task.cancel()

    def drop_all(self) -> None:
        """Forgets all, for instance because tracking changed and with it every index."""
        for server in list(self._live):
            self.drop(server)

    def _reach(self, cluster: Cluster) -> tuple[Client, KindTable]:
        secret = self._secrets.get(cluster.server)
        if secret is None or self._is_own(secret):
            return self._own, self._own_kinds
        transport = self._connect(secret.connection())
        return Client(transport), DiscoveredKinds(transport, self._clock)

    @staticmethod
    def _is_own(secret: ClusterSecret) -> bool:
        return secret.cluster.server == IN_CLUSTER.server and not secret.config

    def _follow(self, live: LiveCluster) -> None:
        assert self._group is not None
        self._tasks[live.server] = self._group.create_task(self._kept(live), name=f"cluster-{live.server}")

    async def _kept(self, live: LiveCluster) -> None:
        """Watches it until it is dropped, and disconnects then."""
        try:
            await live.run()
        finally:
            for client in (live.client, *self._acting.pop(live, {}).values()):
                if client is not self._own:
                    await client.transport.close()


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _bytes(value: str | None) -> bytes | None:
    try:
        return base64.b64decode(value) if value else None
    except ValueError:
        return None


def _is_config(config: Any) -> bool:
    """Whether the fields that we read have their types."""
    if not isinstance(config, dict):
        return False
    tls, plugin = config.get("tlsClientConfig") or {}, config.get("execProviderConfig") or {}
    aws = config.get("awsAuthConfig") or {}
    if not isinstance(tls, dict) or not isinstance(plugin, dict) or not isinstance(aws, dict):
        return False
    texts = [config.get(name) for name in ("bearerToken", "username", "password", "proxyUrl")]
    texts += [aws.get(name) for name in ("clusterName", "roleARN", "profile")]
    texts += [tls.get(name) for name in ("caData", "certData", "keyData", "serverName")]
    texts += [plugin.get(name) for name in ("command", "apiVersion")]
    lists = isinstance(plugin.get("args") or [], list) and isinstance(plugin.get("env") or {}, dict)
    return lists and all(text is None or isinstance(text, str) for text in texts)


def _plugin(config: Mapping[str, Any]) -> kubeconfig.ExecPlugin:
    return kubeconfig.ExecPlugin(
        config.get("command", ""),
        tuple(config.get("args") or ()),
        dict(config.get("env") or {}),
        config.get("apiVersion") or "client.authentication.k8s.io/v1",
    )


def _aws_plugin(config: Mapping[str, Any]) -> kubeconfig.ExecPlugin:
    """The original's own program where it is installed, else Amazon's."""
    name, role, profile = (config.get(key) or "" for key in ("clusterName", "roleARN", "profile"))
    command, *args = ("argocd-k8s-auth", "aws") if shutil.which("argocd-k8s-auth") else ("aws", "eks", "get-token")
    args += ["--cluster-name", name]
    args += ["--role-arn", role] if role else []
    args += ["--profile", profile] if profile else []
    return kubeconfig.ExecPlugin(command, tuple(args), {}, "client.authentication.k8s.io/v1beta1")
