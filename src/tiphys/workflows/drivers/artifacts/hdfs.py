"""HDFS artifacts, through WebHDFS: single files, read from and written to whichever name node answers.

``addresses`` are host:port of the name nodes' HTTP service (9870), or URLs. Kerberos needs the machine's own tickets
and is said to be missing rather than done half. Directories are refused, as by the original.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tiphys.workflows.drivers.artifacts import web
from tiphys.workflows.executor.deletion import NOT_SUPPORTED
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.trees import Place

Object = Mapping[str, Any]
NO_DIRECTORIES = "HDFS artifact does not suppot directory copy"
_KERBEROS = ("krbCCacheSecret", "krbKeytabSecret")
_STANDBY = "StandbyException"


class HdfsDriver:
    def __init__(self, secret: Callable[[str, str], str]) -> None:
        self._secret = secret

    def load(self, artifact: Object, target: Path) -> None:
        cluster, path = _cluster(artifact)
        state = web.patiently(lambda: cluster.state(path))
        if state is None:
            raise ExecutorError(f"stat {path}: file does not exist", missing=True)
        if state["type"] == "DIRECTORY":
            raise ExecutorError(NO_DIRECTORIES)
        web.patiently(lambda: cluster.get(path, target))

    def save(self, source: Place, artifact: Object) -> None:
        cluster, path = _cluster(artifact)
        if source.real.is_dir():
            raise ExecutorError(NO_DIRECTORIES)
        state = web.patiently(lambda: cluster.state(path))
        if state is None and posixpath.dirname(path) != "/":
            web.patiently(lambda: cluster.make_directory(posixpath.dirname(path)))
        if state is not None and not artifact["hdfs"].get("force"):
            raise ExecutorError(f"create {path}: file already exists")
        web.patiently(lambda: cluster.put(path, source.real))

    def delete(self, artifact: Object) -> None:
        del artifact
        raise ExecutorError(NOT_SUPPORTED)


class _Cluster:
    def __init__(self, addresses: Sequence[str], user: str) -> None:
        self._bases = [a.rstrip("/") if "://" in a else f"http://{a}" for a in addresses]
        self._user = user

    def state(self, path: str) -> Object | None:
        """What there is at ``path``; None: nothing."""
        try:
            answer = self._ask("GET", path, "GETFILESTATUS")
        except web.Refusal as err:
            if err.status == 404:
                return None
            raise
        found: Object = json.loads(answer)["FileStatus"]
        return found

    def make_directory(self, path: str) -> None:
        self._ask("PUT", path, "MKDIRS", permission="777")

    def get(self, path: str, target: Path) -> None:
        def fetch(url: str) -> None:
            with web.send("GET", url, {}, accept=(307,)) as response:
                where = response.getheader("Location")
                if response.status != 307:
                    web.download(response, target)
                    return
            with web.send("GET", where or "", {}) as response:
                web.download(response, target)

        self._somewhere(path, "OPEN", fetch)

    def put(self, path: str, source: Path) -> None:
        """First to a name node, without the file; it says which data node is to have it."""

        def store(url: str) -> None:
            with web.send("PUT", url, {}, accept=(307,)) as response:
                where = response.getheader("Location")
                if not where:
                    where = str(json.loads(web.read(response))["Location"])
            with web.send("PUT", where, {"Content-Type": "application/octet-stream"}, web.whole(source)):
                pass

        self._somewhere(path, "CREATE", store, overwrite="true")

    def _ask(self, method: str, path: str, operation: str, **words: str) -> bytes:
        answers: list[bytes] = []
        self._somewhere(path, operation, lambda url: answers.append(web.ask(method, url, {})), **words)
        return answers[0]

    def _somewhere(self, path: str, operation: str, action: Callable[[str], None], **words: str) -> None:
        """At the first name node that is active."""
        query = urlencode({"op": operation, **({"user.name": self._user} if self._user else {}), **words})
        failure: ExecutorError | None = None
        for base in self._bases:
            try:
                action(f"{base}/webhdfs/v1{quote(path)}?{query}")
                return
            except web.Transient as err:
                failure = err
            except web.Refusal as err:
                if _STANDBY not in err.body.decode("utf-8", "replace"):
                    raise _told(err) from err
                failure = err
        raise failure or ExecutorError("hdfs.addresses is required")


def _cluster(artifact: Object) -> tuple[_Cluster, str]:
    body = artifact["hdfs"]
    path = str(body.get("path") or "")
    if not body.get("addresses"):
        raise ExecutorError("hdfs.addresses is required")
    if not path:
        raise ExecutorError("hdfs.path is required")
    if not path.startswith("/"):
        raise ExecutorError("hdfs.path must be a absolute file path")
    if any(body.get(name) for name in _KERBEROS):
        raise ExecutorError("hdfs: Kerberos is not supported over WebHDFS; use hdfsUser")
    if not body.get("hdfsUser"):
        raise ExecutorError("either hdfs.hdfsUser, hdfs.krbCCacheSecret or hdfs.krbKeytabSecret is required")
    return _Cluster([str(a) for a in body["addresses"]], str(body["hdfsUser"])), path


def _told(err: web.Refusal) -> web.Refusal:
    """With the message that the name node put into its answer."""
    try:
        message = str(json.loads(err.body)["RemoteException"]["message"])
    except (ValueError, KeyError, TypeError):
        return err
    return web.Refusal(err.status, "", err.body, message)
