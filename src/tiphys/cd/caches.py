"""What the controller knows of its own objects: applications, projects, the configuration, the secrets of clusters."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

from tiphys.cd.clusters import SECRET_TYPE, ClusterSecret
from tiphys.cd.plan.objects import Object
from tiphys.cd.plan.settings import Settings, SettingsError
from tiphys.cd.repositories import CERTIFICATES, GPG_KEYS, KNOWN_HOSTS, Trusted
from tiphys.client.client import Client
from tiphys.machinery.resources import CONFIG_MAPS, SECRETS, ObjectKey, Resource
from tiphys.runtime.clock import Clock
from tiphys.runtime.informer import Informer

logger = logging.getLogger(__name__)

APPLICATIONS: Final = Resource("argoproj.io", "v1alpha1", "applications", "Application")
APP_PROJECTS: Final = Resource("argoproj.io", "v1alpha1", "appprojects", "AppProject")
CONFIG_MAP: Final = "argocd-cm"
SOURCE_SECRETS: Final = f"{SECRET_TYPE} in (cluster,repository,repo-creds,repository-write,repo-write-creds)"
"""The label selector of clusters, repositories and their credentials."""


class Caches:
    """Informers of the control plane; applications of all namespaces."""

    def __init__(self, client: Client, namespace: str, *, clock: Clock, rng: random.Random) -> None:
        def informer(resource: Resource, where: str | None, **query: str) -> Informer:
            return Informer(client, resource, clock=clock, rng=rng, namespace=where, indexes=None, keep=None, **query)

        self._namespace = namespace
        self.applications = informer(APPLICATIONS, None)
        self.projects = informer(APP_PROJECTS, namespace)
        self.config = informer(CONFIG_MAPS, namespace, fieldSelector=f"metadata.name={CONFIG_MAP}")
        self._trusted = [
            informer(CONFIG_MAPS, namespace, fieldSelector=f"metadata.name={name}")
            for name in (KNOWN_HOSTS, CERTIFICATES, GPG_KEYS)
        ]
        self.secrets = informer(SECRETS, namespace, labelSelector=SOURCE_SECRETS)
        self._settings = Settings.of(None)

    @property
    def all(self) -> tuple[Informer, ...]:
        return (self.projects, self.config, self.secrets, *self._trusted, self.applications)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for informer in self.all:
                group.create_task(informer.run(), name=f"cd-{informer.resource.key}")

    async def synced(self) -> None:
        for informer in self.all:
            await informer.synced.wait()

    @property
    def settings(self) -> Settings:
        return self._settings

    @property
    def trusted(self) -> Trusted:
        return Trusted.of(each for informer in self._trusted for each in informer.objects())

    def read_settings(self) -> bool:
        """Reads the configuration; whether anything changed. One that cannot be read leaves the last good one."""
        found = self.config.get(ObjectKey(self._namespace, CONFIG_MAP))
        try:
            new = Settings.of((found or {}).get("data"))
        except SettingsError as err:
            logger.warning("%s; the settings before it stay", err)
            return False
        if new == self._settings:
            return False
        self._settings = new
        return True

    def project(self, name: str) -> Object | None:
        return self.projects.get(ObjectKey(self._namespace, name))

    def cluster_secrets(self) -> dict[str, ClusterSecret]:
        own = (each for each in self.secrets.objects() if each["metadata"]["labels"].get(SECRET_TYPE) == "cluster")
        found = map(ClusterSecret.of, own)
        return {each.cluster.server: each for each in found if each is not None}
