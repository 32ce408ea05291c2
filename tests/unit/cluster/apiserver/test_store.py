"""The store: group commit, crashes, versions, entries as rows."""

import asyncio
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from tiphys.cluster.apiserver import store as store_module
from tiphys.cluster.apiserver.journal import Group, Journal, JournalError, Row
from tiphys.cluster.apiserver.store import Change, Store
from tiphys.machinery.errors import ServiceUnavailable

MAPS = {"workflows": ("status", "nodes")}


def obj(name: str, **more) -> dict:
    return {"kind": "X", "apiVersion": "v1", "metadata": {"name": name}} | more


async def reopened(path: Path) -> Store:
    return Store.open(path, MAPS)


async def test_what_was_acknowledged_is_there_after_reopening(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s.db")
    await asyncio.gather(*(store.put("things", f"ns/{n}", obj(str(n))) for n in range(300)))
    await store.remove("things", store.get("things", "ns/7"))
    version = store.version
    await store.close()
    again = await reopened(tmp_path / "s.db")
    assert again.version == version == 301
    assert len(again.collection("things").records) == 299
    assert again.get("things", "ns/8").view == obj("8") | {"metadata": {"name": "8", "resourceVersion": "9"}}
    await again.close()


async def test_concurrent_writes_share_commits(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s.db")
    groups: list[list[Change]] = []
    store.subscribe(groups.append)
    await asyncio.gather(*(store.put("things", str(n), obj(str(n))) for n in range(100)))
    assert len(groups) <= 2
    versions = [change.record.version for group in groups for change in group]
    assert versions == list(range(1, 101))
    await store.close()


async def test_readers_see_only_what_is_durable(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s.db")
    writing = asyncio.ensure_future(store.put("things", "a", obj("a")))
    await asyncio.sleep(0)
    assert store.latest("things", "a") is not None
    assert store.get("things", "a") is None
    await writing
    assert store.get("things", "a") is not None
    await store.close()


async def test_a_change_of_few_entries_writes_few_rows(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s.db", MAPS)
    nodes = {f"n{n}": {"phase": "Pending"} for n in range(1_000)}
    first = await store.put("workflows", "w", obj("w", status={"phase": "Running", "nodes": nodes}))
    written: list[Group] = []
    commit = store._writer._journal.commit
    store._writer._journal.commit = lambda group: (written.append(group), commit(group))[1]
    changed = first.view["status"]["nodes"].changed({"n3": {"phase": "Succeeded"}})
    await store.put("workflows", "w", first.view | {"status": first.view["status"] | {"nodes": changed}})
    assert list(written[0].parts.values()) == [b'{"phase":"Succeeded"}']
    await store.close()
    again = await reopened(tmp_path / "s.db")
    status = again.get("workflows", "w").view["status"]
    assert (len(status["nodes"]), status["nodes"]["n3"], status["phase"]) == (1_000, {"phase": "Succeeded"}, "Running")
    await again.close()


async def test_entries_go_with_their_object(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s.db", MAPS)
    record = await store.put("workflows", "w", obj("w", status={"nodes": {"a": {}}}))
    await store.remove("workflows", record)
    await store.close()
    with sqlite3.connect(tmp_path / "s.db") as db:
        assert db.execute("SELECT count(*) FROM parts").fetchone() == (0,)


async def test_a_refusing_disk_loses_nothing_and_says_so(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s.db")
    await store.put("things", "a", obj("a"))
    journal = store._writer._journal
    journal._db.execute("PRAGMA query_only=ON")
    results = await asyncio.gather(
        *(store.put("things", name, obj(name)) for name in ("b", "c")), return_exceptions=True
    )
    assert all(isinstance(result, ServiceUnavailable) for result in results)
    assert store.latest("things", "b") is None
    journal._db.execute("PRAGMA query_only=OFF")
    await store.put("things", "b", obj("b"))
    assert store.get("things", "b").version > 3
    await store.close()


async def test_who_only_asks_learns_that_the_disk_takes_writes_again(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s.db")
    first = await store.put("things", "a", obj("a"))
    assert store.takes_writes()
    journal = store._writer._journal
    journal._db.execute("PRAGMA query_only=ON")
    with pytest.raises(ServiceUnavailable):
        await store.remove("things", first)
    tried, hear = asyncio.Event(), store._tried
    store._tried = lambda error: (hear(error), tried.set())
    async with asyncio.timeout(60):
        assert not store.takes_writes()
        await tried.wait()
        tried.clear()
        journal._db.execute("PRAGMA query_only=OFF")
        assert not store.takes_writes()
        await tried.wait()
    assert store.takes_writes()
    assert store.get("things", "a") is first
    await store.close()
    again = await reopened(tmp_path / "s.db")
    assert (again.version, again.get("things", "a").version) == (first.version, first.version)
    await again.close()


async def test_a_second_server_on_the_same_file_is_refused(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s.db")
    await store.put("things", "a", obj("a"))
    with pytest.raises(JournalError, match="locked"):
        Store.open(tmp_path / "s.db")
    await store.close()


def test_a_file_of_a_newer_tiphys_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "s.db") as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(JournalError, match="newer tiphys"):
        Journal(tmp_path / "s.db")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"not a database, certainly not one" * 100)
    with pytest.raises(JournalError, match="cannot open"):
        Journal(tmp_path / "s.db")


def test_groups_of_every_size_are_written_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "s.db")
    total = 0
    for size in (1, 2, 3, 127, 128, 129, 300):
        group = Group(version=total + size)
        for n in range(total + 1, total + size + 1):
            group.put(Row(n, "things", "", str(n), n, b"{}"))
            group.parts[n, "a"] = b"1"
        journal.commit(group)
        total += size
    assert sum(1 for _ in journal.objects()) == total
    assert sum(1 for _ in journal.parts()) == total
    journal.close()


WRITER = """
    import asyncio, sys
    from pathlib import Path
    from tiphys.cluster.apiserver.store import Store

    async def main():
        store = Store.open(Path(sys.argv[1]))
        async def write(lane):
            for n in range(10_000):
                record = await store.put("things", f"{lane}/{n}", {"metadata": {"name": str(n)}})
                print(record.version, f"{lane}/{n}", flush=True)
        await asyncio.gather(*(write(lane) for lane in range(8)))

    asyncio.run(main())
"""


@pytest.mark.e2e
def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    acknowledged: dict[str, int] = {}
    seen: set[int] = set()
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(path)], stdout=subprocess.PIPE, text=True
        )
        lines = [process.stdout.readline() for _ in range(200)]
        process.kill()
        rest, _ = process.communicate()
        fresh = {}
        for line in [*lines, *rest.splitlines(keepends=True)]:
            if line.endswith("\n"):
                version, key = line.split()
                fresh[key] = int(version)
        assert not seen & set(fresh.values()), "a version was given out twice"
        seen |= set(fresh.values())
        acknowledged |= fresh
        journal = Journal(path)
        held = {f"{row.namespace}/{row.name}": row.version for row in journal.objects()}
        assert journal.newest_version() >= max(seen)
        journal.close()
        # A write that was durable but not yet acknowledged when the process died may be newer.
        assert all(held.get(key, 0) >= version for key, version in acknowledged.items())


def test_a_value_that_the_file_cannot_hold_is_refused_and_the_next_write_goes_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "store.db")
    with pytest.raises(JournalError, match="cannot write"):
        journal.commit(Group(parts={(1, "a"): b"{}", (1, "\ud800"): b"{}"}))
    with pytest.raises(JournalError, match="cannot write"):
        journal.commit(Group(parts={(1 << 64, "a"): b"{}"}))
    journal.commit(Group(parts={(1, "b"): b"{}"}))
    journal.close()
    with closing(sqlite3.connect(tmp_path / "store.db")) as db:
        assert db.execute("SELECT key FROM parts").fetchall() == [("b",)]


async def test_a_view_that_was_held_for_long_is_let_go_of_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "WARM_VIEWS_MAX", 2)
    store = Store()

    async def put(*names: str) -> None:
        for name in names:
            await store.put("configmaps", f"default/{name}", {"metadata": {"name": name}})

    await put("a")
    record = store.get("configmaps", "default/a")
    assert record is not None
    held = record.view
    await put("b", "c", "d")
    assert record.view is held
    del held
    await put("e", "f", "g")
    assert not record.is_parsed
    assert record.view["metadata"]["name"] == "a"
