"""Truth values in queries are the original's, wherever they stand."""

import pytest

from tests.unit.client.servers import api_server
from tiphys.client.client import Client
from tiphys.client.transport import Request
from tiphys.cluster.apiserver.streams import parse_remote_options
from tiphys.cluster.apiserver.verbs import WriteOptions
from tiphys.machinery.resources import CONFIG_MAPS

POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}


@pytest.mark.parametrize(("text", "meant"), [("1", True), ("True", True), ("", True), ("0", False), ("False", False)])
async def test_truth_values(text: str, meant: bool) -> None:
    options = WriteOptions.parse({"fieldManager": "m", "force": text}, "PatchOptions", applies=True)
    assert options.force is meant
    assert parse_remote_options(POD, {"stdout": "1", "tty": text}).tty is meant
    async with api_server() as server:
        await Client(server.transport()).create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "default"}})
        asked = {"sendInitialEvents": text, "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": text}
        watcher = server.open_watch(Request("watch", CONFIG_MAPS, "default", query=asked))
        assert [event.type for event in watcher.take()] == (["ADDED", "BOOKMARK"] if meant else [])
