"""Documents of images from registries that mean no good."""

from __future__ import annotations

import pytest

from tiphys.oci.manifests import ImageError, parse_manifest


@pytest.mark.parametrize("size", ["-1", "1e999", "NaN", '"x"', "null", "{}"])
def test_a_size_that_is_none(size: str) -> None:
    with pytest.raises(ImageError, match="a descriptor"):
        parse_manifest(
            b'{"config": {"digest": "d", "size": 1}, "layers": [{"digest": "d", "size": %s}]}' % size.encode()
        )
