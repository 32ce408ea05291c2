"""Tokens of ServiceAccounts: what they say, and everything that ends them."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from tiphys.client.client import Client
from tiphys.client.transport import Request
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.apiserver.tokens import ISSUER, Refused
from tiphys.machinery.errors import BadRequest, Conflict, Invalid, NotFound
from tiphys.machinery.resources import NODES, PODS, SECRETS, SERVICE_ACCOUNTS, ObjectKey
from tiphys.runtime.clock import SystemClock
from tiphys.runtime.ids import SystemIds
from tiphys.serving import jwt
from tiphys.serving.jwt import BadToken, SigningKey

T0 = datetime(2026, 1, 1, tzinfo=UTC)


class HandClock(SystemClock):
    """Stands where it is put."""

    def __init__(self) -> None:
        self.moment = T0

    def now(self) -> datetime:
        return self.moment


class Cluster:
    def __init__(self, server: ApiServer, clock: HandClock) -> None:
        self.server, self.clock = server, clock
        self.client = Client(server.transport())

    async def token(self, **spec: Any) -> str:
        asked = Request("create", SERVICE_ACCOUNTS, "default", "robot", "token", {}, {"spec": spec})
        return str((await self.server.call(asked))["status"]["token"])

    async def pod(self, name: str = "p", account: str = "robot") -> None:
        spec = {"serviceAccountName": account, "nodeName": "n1", "containers": [{"name": "c", "image": "x"}]}
        await self.client.create(PODS, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})

    async def delete(self, name: str = "p") -> None:
        key = ObjectKey("default", name)
        await self.client.delete(PODS, key, {"gracePeriodSeconds": 0})

    def who(self, token: str) -> str | None:
        user = self.server.tokens.user_of(token)
        return None if user is None else user.name


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    clock = HandClock()
    server = await ApiServer.start(Store(), clock, SystemIds(), ("none",), signing_key=SigningKey())
    made = Cluster(server, clock)
    await made.client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot", "namespace": "default"}})
    await made.client.create(NODES, {"metadata": {"name": "n1"}})
    yield made
    await server.close()


def claims_of(token: str) -> Any:
    return jwt.parts_of(token)[1]


async def test_a_token_is_its_account(cluster: Cluster) -> None:
    token = await cluster.token()
    user = cluster.server.tokens.user_of(token)
    assert user is not None
    assert user.name == "system:serviceaccount:default:robot"
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated")
    claims = claims_of(token)
    assert (claims["iss"], claims["aud"], claims["exp"] - claims["iat"]) == (ISSUER, [ISSUER], 3600)


async def test_others_can_verify_it_with_the_published_key(cluster: Cluster) -> None:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
    from cryptography.hazmat.primitives.hashes import SHA256

    token = await cluster.token()
    (key,) = cluster.server.tokens.key.jwks()["keys"]
    e, n = (int.from_bytes(jwt.decode(key[name]), "big") for name in "en")
    text, _, signature = token.rpartition(".")
    RSAPublicNumbers(e, n).public_key().verify(jwt.decode(signature), text.encode(), PKCS1v15(), SHA256())
    assert jwt.parts_of(token)[0]["kid"] == key["kid"]


async def test_a_token_dies_with_its_pod(cluster: Cluster) -> None:
    await cluster.pod()
    token = await cluster.token(boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "p"})
    user = cluster.server.tokens.user_of(token)
    assert user is not None
    assert user.extra["authentication.kubernetes.io/pod-name"] == ("p",)
    assert user.extra["authentication.kubernetes.io/node-name"] == ("n1",)
    await cluster.delete()
    assert cluster.who(token) is None
    await cluster.pod()  # of the same name, but another one
    assert cluster.who(token) is None
    with pytest.raises(Refused, match=r"pod UID .* does not match service account pod ref claim"):
        cluster.server.tokens.review(token)


async def test_a_token_dies_with_its_account(cluster: Cluster) -> None:
    token = await cluster.token()
    await cluster.client.delete(SERVICE_ACCOUNTS, ObjectKey("default", "robot"))
    assert cluster.who(token) is None
    await cluster.client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot", "namespace": "default"}})
    assert cluster.who(token) is None


async def test_a_token_expires(cluster: Cluster) -> None:
    token = await cluster.token(expirationSeconds=600)
    cluster.clock.moment = T0 + timedelta(seconds=659)
    assert cluster.who(token)
    cluster.clock.moment = T0 + timedelta(seconds=661)
    with pytest.raises(Refused, match="service account token has expired"):
        cluster.server.tokens.review(token)


async def test_a_pods_own_token_lasts_longer_than_it_says(cluster: Cluster) -> None:
    await cluster.pod()
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "p"}
    claims = claims_of(await cluster.token(boundObjectRef=bound, expirationSeconds=3607))
    assert claims["exp"] - claims["iat"] == 365 * 24 * 3600
    assert claims["kubernetes.io"]["warnafter"] - claims["iat"] == 3607


async def test_a_token_for_others_is_none_for_us(cluster: Cluster) -> None:
    token = await cluster.token(audiences=["vault", "other"])
    assert cluster.who(token) is None
    found = cluster.server.tokens.review(token, ["x", "vault"])
    assert found is not None
    assert found.audiences == ("vault",)


async def test_forged_tokens(cluster: Cluster) -> None:
    token = await cluster.token()
    header, claims, signature = token.split(".")
    bigger = jwt.encode(orjson.dumps(claims_of(token) | {"sub": "system:serviceaccount:kube-system:default"}))
    none = jwt.encode(orjson.dumps({"alg": "none", "typ": "JWT"}))
    key = SigningKey().sign(claims_of(token))
    made = (f"{header}.{bigger}.{signature}", f"{none}.{claims}.", key, token[:-4])
    for bad in ("", "x", "a.b.c", "." * 100_000, *made):
        assert cluster.who(bad) is None, bad[:50]


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ({"expirationSeconds": 599}, Invalid, "may not specify a duration less than 10 minutes"),
        ({"expirationSeconds": 1 << 33}, Invalid, r"may not specify a duration larger than 2\^32 seconds"),
        (
            {"boundObjectRef": {"kind": "Pod", "name": "nobody"}},
            NotFound,
            'pods "nobody" not found',
        ),
        (
            {"boundObjectRef": {"kind": "Pod", "name": "alien"}},
            BadRequest,
            "different serviceaccount",
        ),
        ({"boundObjectRef": {"kind": "Job", "apiVersion": "batch/v1", "name": "x"}}, BadRequest, "batch/v1, Kind=Job"),
        ({"boundObjectRef": {"kind": "Pod", "name": "p", "uid": "zzz"}}, Conflict, "does not match the UID in record"),
    ],
)
async def test_requests_that_are_refused(cluster: Cluster, spec: Any, error: type[Exception], message: str) -> None:
    await cluster.pod("alien", "default")
    await cluster.pod()
    with pytest.raises(error, match=message):
        await cluster.token(**spec)


async def test_a_secret_of_the_old_kind(cluster: Cluster) -> None:
    meta = {"name": "s", "namespace": "default", "annotations": {"kubernetes.io/service-account.name": "robot"}}
    kind = {"type": "kubernetes.io/service-account-token"}
    await cluster.client.create(SECRETS, {"metadata": meta} | kind)
    secret = await cluster.client.get(SECRETS, ObjectKey("default", "s"))
    token = base64.b64decode(secret["data"]["token"]).decode()
    assert cluster.who(token) == "system:serviceaccount:default:robot"
    await cluster.client.delete(SECRETS, ObjectKey("default", "s"))
    assert cluster.who(token) is None
    nobody = meta | {"name": "t", "annotations": {"kubernetes.io/service-account.name": "nobody"}}
    await cluster.client.create(SECRETS, {"metadata": nobody} | kind)
    with pytest.raises(NotFound):
        await cluster.client.get(SECRETS, ObjectKey("default", "t"))


def test_the_key_is_kept(tmp_path: Any) -> None:
    place = tmp_path / "pki" / "sa.key"
    token = SigningKey(place).sign({"a": 1})
    assert SigningKey(place).verify(token) == {"a": 1}
    assert place.stat().st_mode & 0o777 == 0o600
    with pytest.raises(BadToken):
        SigningKey().verify(token)
