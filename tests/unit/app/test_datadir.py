from __future__ import annotations

from pathlib import Path

import pytest

from tiphys.app.datadir import DataDir, ServerInfo
from tiphys.machinery.errors import DriverError

INFO = ServerInfo(pid=4711, url="https://127.0.0.1:6443", kubeconfig="/k", runtime="process")


def test_one_holder_at_a_time_and_the_second_is_told_who(tmp_path: Path) -> None:
    home = DataDir(tmp_path / "new")
    with home.held():
        home.announce(INFO)
        with pytest.raises(DriverError, match="4711"), DataDir(home.path).held():
            pass


def test_a_server_is_known_only_while_it_holds_the_directory(tmp_path: Path) -> None:
    home = DataDir(tmp_path)
    assert home.server() is None
    with home.held():
        assert home.server() is None  # not Ready yet
        assert home.is_held()
        home.announce(INFO)
        assert home.server() == INFO
    assert home.server() is None
    assert not home.is_held()


def test_what_a_killed_server_left_behind_is_not_believed(tmp_path: Path) -> None:
    home = DataDir(tmp_path)
    home.announce(INFO)  # no lock: its process is gone
    assert home.server() is None
    with home.held():
        assert home.server() is None


def test_waiting_for_a_free_directory_returns_at_once_when_it_is(tmp_path: Path) -> None:
    DataDir(tmp_path).wait_until_free()
