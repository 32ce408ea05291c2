"""Rules on URLs, tags, paths and the environment that no recorded answer shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiphys.cd.sources import environment, paths, plugins, revisions, urls


def test_userinfo_never_reaches_a_log() -> None:
    assert urls.sanitized("https://user:token@git.example.com/a") == "https://git.example.com/a"


def test_an_address_in_brackets_keeps_them_before_its_port() -> None:
    assert urls.ssh_host_with_port("ssh://git@[::1]:2222/a") == "[::1]:2222"


def test_a_prerelease_is_chosen_only_where_it_is_asked_for() -> None:
    tags = ["1.0.0", "1.1.0-rc.1"]
    assert revisions.max_version(">=1", tags) == "1.0.0"
    assert revisions.max_version(">=1-0", tags) == "1.1.0-rc.1"


def test_a_link_that_leaves_and_comes_back_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    root.mkdir()
    (root / "inside").write_text("x")
    (root / "link").symlink_to("../repository/inside")
    with pytest.raises(paths.PathError, match="out of bounds symlink found: link"):
        paths.check_links(root)


def test_a_neighbour_with_the_same_beginning_is_outside(tmp_path: Path) -> None:
    for name in ("repository", "repository2"):
        (tmp_path / name).mkdir()
    with pytest.raises(paths.PathError, match="outside root"):
        paths.app_path(tmp_path / "repository", "../repository2")


def test_a_link_out_of_the_repository_is_no_values_file(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    root.mkdir()
    (root / "values.yaml").symlink_to("/etc/hostname")
    with pytest.raises(paths.PathError, match="resolved to outside repository root"):
        paths.resolve_value_file(root, root, "values.yaml", ())


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(paths.PathError, match="failed to resolve path"):
        paths.resolve(tmp_path, tmp_path, "a")


@pytest.mark.parametrize(("text", "answer"), [("$$A", "$A"), ("${A", "A"), ("a$", "a$"), ("${}x", "x"), ("$A$", "1$")])
def test_dollars(text: str, answer: str) -> None:
    assert environment.substituted(text, {"A": "1"}) == answer


_PLUGIN = """apiVersion: argoproj.io/v1alpha1
kind: ConfigManagementPlugin
metadata: {name: %s}
spec: {generate: {command: [cat, map.yaml]}%s}
"""


def test_plugins_of_a_folder_come_in_the_order_of_their_files(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(_PLUGIN % ("second", ""))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "plugin.yaml").write_text(_PLUGIN % ("first", ", discover: {fileName: map.yaml}"))
    (tmp_path / "c.yaml").write_text("kind: Else\nmetadata: {name: c}\n")
    found = plugins.installed(tmp_path)
    assert [plugins.address(each) for each in found] == ["first", "second"]
    assert plugins.installed(tmp_path / "missing") == []


def test_only_plugins_that_may_take_a_source_slow_it_down(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(_PLUGIN % ("named", ""))
    (tmp_path / "b.yaml").write_text(_PLUGIN % ("finds", ", discover: {fileName: map.yaml}"))
    both = plugins.installed(tmp_path)

    def names(source: dict[str, object], *, is_overridden: bool = False) -> list[str]:
        return [plugins.address(each) for each in plugins.concerning(both, source, is_overridden=is_overridden)]

    assert names({"path": "."}) == ["finds"]
    assert names({"path": ".", "plugin": {"name": "named"}}) == ["named"]
    assert names({"path": ".", "directory": {}}) == []
    assert names({"path": "."}, is_overridden=True) == ["named", "finds"]
