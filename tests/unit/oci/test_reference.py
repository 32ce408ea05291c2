from __future__ import annotations

import pytest

from tiphys.oci.reference import InvalidReference, parse

SHA = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.35", "docker.io/library/busybox:1.35"),
        ("argoproj/argosay:v2", "docker.io/argoproj/argosay:v2"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
        ("quay.io/a/b_c/d--e", "quay.io/a/b_c/d--e:latest"),
        ("localhost/x", "localhost/x:latest"),
        ("127.0.0.1:5999/team/app:1", "127.0.0.1:5999/team/app:1"),
        ("[::1]:5000/x", "[::1]:5000/x:latest"),
        (f"app@{SHA}", f"docker.io/library/app@{SHA}"),
        (f"app:1@{SHA}", f"docker.io/library/app:1@{SHA}"),
        ("REGISTRY/app", "REGISTRY/app:latest"),
    ],
)
def test_full_names(text: str, full: str) -> None:
    assert str(parse(text)) == full
    assert str(parse(full)) == full


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("UPPER/Case:1", "invalid reference format: repository name (Case) must be lowercase"),
        ("Busybox", "invalid reference format: repository name (library/Busybox) must be lowercase"),
        ("a b c", "invalid reference format"),
        ("", "invalid reference format"),
        ("a:", "invalid reference format"),
        ("a@sha256:123", "invalid reference format"),
        (f"a@sha512:{'a' * 128}", "unsupported digest algorithm"),
        ("a@sha256:" + "a" * 40, "invalid checksum digest length"),
        ("a" * 64, f"invalid repository name ({'a' * 64}), cannot specify 64-byte hexadecimal strings"),
        ("a" * 300, "repository name must not be more than 255 characters"),
        ("a//b", "invalid reference format"),
        ("a:" + "t" * 129, "invalid reference format"),
    ],
)
def test_what_is_no_name(text: str, said: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse(text)
    assert str(caught.value) == said
