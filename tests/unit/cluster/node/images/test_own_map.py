"""Entries of the image map in a file of the user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiphys.cluster.node.images.map import ImageMap, entries_with, load_entries
from tiphys.machinery.errors import SpecError


def test_entries_of_a_file_come_before_the_built_in_ones(tmp_path: Path) -> None:
    file = tmp_path / "map.toml"
    file.write_text('[[entry]]\nname = "mine"\nmatch = ["python", "nginx"]\ncmd = ["true"]\n')
    images = ImageMap(entries_with(file))
    assert images.image("nginx:1").image_id == images.image("python:3").image_id == "tiphys-map://mine"
    assert images.image("busybox").image_id == "tiphys-map://busybox"
    assert entries_with(None) == load_entries()


@pytest.mark.parametrize(
    ("text", "why"),
    [("[[entry]]\nname = 'x'\n", "no 'match'"), ("entry = [", "is no image map"), ("entry = ['x']", "is no image map")],
)
def test_a_file_that_is_no_map_is_named(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "map.toml"
    file.write_text(text)
    with pytest.raises(SpecError, match=why) as found:
        entries_with(file)
    assert str(file) in str(found.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none\.toml"):
        entries_with(tmp_path / "none.toml")
