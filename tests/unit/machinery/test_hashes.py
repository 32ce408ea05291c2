"""Hashes beside those with recorded answers."""

import pytest

from tiphys.machinery.hashes import endpoint_port_hash


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        (("http", "TCP", 80, None), "b6c4d325122a5ba6f795b0bbffcebb6f"),
        (("https", "TCP", 443, None), "50852f610b5fbbf5129025d35e502185"),
        (("", "UDP", 53, "h2c"), "d6885b7e953f91f1be3d8d19453d9f0b"),
    ],
)
def test_ports_of_slices_hash_as_go_hashes_them(port: tuple[str, str, int, str | None], expected: str) -> None:
    assert f"{endpoint_port_hash(*port):032x}" == expected
