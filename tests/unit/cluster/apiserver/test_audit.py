"""The audit log: what policies say, what is written of requests, and how the file is rotated."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tiphys.cluster.apiserver.http.audit import Asked, Auditor, LogFile, parse
from tiphys.cluster.apiserver.http.handler import HttpHandler
from tiphys.cluster.apiserver.http.identity import Authenticator, StaticTokens
from tiphys.cluster.apiserver.http.paths import ResourcePath
from tiphys.cluster.apiserver.http.paths import parse as parse_path
from tiphys.cluster.apiserver.http.rbac import Rbac
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.apiserver.users import MASTERS, User
from tiphys.machinery.errors import SpecError
from tiphys.runtime.ids import SystemIds
from tiphys.runtime.virtual import VirtualClock

HEAD = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy"}
ALICE = User("alice", ("devs",))


def level(rules: list[dict[str, Any]], path: str, verb: str = "get", user: User = ALICE) -> str:
    where = parse_path(path)
    asked = Asked(user, verb, path, where if isinstance(where, ResourcePath) else None)
    return parse(HEAD | {"rules": rules}).rule_for(asked).level


@pytest.mark.parametrize(
    ("rule", "path", "matches"),
    [
        ({}, "/healthz", True),
        ({"users": ["bob"]}, "/api/v1/pods", False),
        ({"userGroups": ["ops", "devs"]}, "/api/v1/pods", True),
        ({"verbs": ["list"]}, "/api/v1/pods", False),
        ({"nonResourceURLs": ["/health*"]}, "/healthz", True),
        ({"nonResourceURLs": ["*"]}, "/api/v1/pods", False),
        ({"resources": [{"group": ""}]}, "/api/v1/pods", True),
        ({"resources": [{"group": ""}]}, "/apis/apps/v1/deployments", False),
        ({"resources": [{"group": "", "resources": ["pods"]}]}, "/api/v1/namespaces/a/pods/p/log", False),
        ({"resources": [{"group": "", "resources": ["pods/log"]}]}, "/api/v1/namespaces/a/pods/p/log", True),
        ({"resources": [{"group": "", "resources": ["pods/*"]}]}, "/api/v1/namespaces/a/pods/p/log", True),
        ({"resources": [{"group": "", "resources": ["*/log"]}]}, "/api/v1/namespaces/a/pods/p/log", True),
        ({"resources": [{"group": "", "resources": ["*/log"]}]}, "/api/v1/namespaces/a/pods/p", False),
        ({"resources": [{"resources": ["pods"], "resourceNames": ["q"]}]}, "/api/v1/namespaces/a/pods/p", False),
        ({"namespaces": ["a"]}, "/api/v1/namespaces/a/pods", True),
        ({"namespaces": ["a"]}, "/api/v1/namespaces/a", True),
        ({"namespaces": [""]}, "/api/v1/nodes", True),
        ({"namespaces": ["a"]}, "/healthz", False),
    ],
)
def test_what_a_rule_matches(rule: dict[str, Any], path: str, matches: bool) -> None:
    assert level([rule | {"level": "Request"}], path) == ("Request" if matches else "None")


def test_the_first_rule_counts() -> None:
    rules = [{"level": "None", "users": ["alice"]}, {"level": "Metadata"}]
    assert level(rules, "/api/v1/pods") == "None"
    assert level(rules, "/api/v1/pods", user=User("bob")) == "Metadata"


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ([], "object"),
        (HEAD, "rules"),
        ({"kind": "Policy", "rules": []}, "apiVersion"),
        (HEAD | {"rules": [{"level": "All"}]}, r"rules\[0\].level"),
        (HEAD | {"rules": [{"level": "None", "omitStages": ["Never"]}]}, r"rules\[0\].omitStages"),
        (HEAD | {"rules": [{"level": "None", "nonResourceURLs": ["/a*b"]}]}, "nonResourceURLs"),
        (HEAD | {"rules": [{"level": "None", "nonResourceURLs": ["*"], "namespaces": ["a"]}]}, "nonResourceURLs"),
        (HEAD | {"rules": [{"level": "None", "resources": [{"resourceNames": ["a"]}]}]}, "resourceNames"),
        (HEAD | {"rules": [{"level": "None", "users": "alice"}]}, "users"),
    ],
)
def test_a_policy_that_says_nothing_sensible_is_refused(policy: Any, field: str) -> None:
    with pytest.raises(SpecError, match=field):
        parse(policy)


def test_the_log_is_put_aside_when_it_is_full(tmp_path: Path) -> None:
    clock = VirtualClock()
    log = LogFile(tmp_path / "audit.log", clock, 100, 2)
    for number in range(10):
        clock.advance(1)
        log.write(b"%d" % number * 59 + b"\n")
    log.close()
    kept = sorted(tmp_path.iterdir())
    assert [path.read_bytes()[:1] for path in kept] == [b"7", b"8", b"9"]
    assert kept[-1].name == "audit.log"
    assert kept[-1].stat().st_mode & 0o077 == 0


SECRETS = {"level": "Metadata", "resources": [{"group": "", "resources": ["secrets"]}]}
POLICY = HEAD | {
    "omitStages": ["RequestReceived"],
    "rules": [SECRETS, {"level": "None", "nonResourceURLs": ["/healthz"]}, {"level": "RequestResponse"}],
}


async def test_what_is_written_of_requests(tmp_path: Path) -> None:
    clock, tokens, file = VirtualClock(), StaticTokens(), tmp_path / "audit.log"
    tokens.add("admin", User("admin", (MASTERS,)))
    tokens.add("alice", ALICE)
    server = await ApiServer.start(Store(), clock, SystemIds(), ["none"])
    auditor = Auditor(parse(POLICY), LogFile(file, clock, 1 << 20, 1), clock, SystemIds())
    handler = HttpHandler(server, Authenticator([tokens]), Rbac(server.store), auditor)
    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    core = f"http://127.0.0.1:{runner.addresses[0][1]}"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"key": "hidden-word"}}
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}}
    async with aiohttp.ClientSession() as session:

        async def call(path: str, body: Any = None, **headers: str) -> None:
            named = {"Authorization": "Bearer admin", "User-Agent": "test/1"} | headers
            async with session.request("POST" if body else "GET", core + path, json=body, headers=named):
                pass

        space = "/api/v1/namespaces/default/"
        await call(space + "secrets", secret)
        await call(space + "secrets/s")
        await call("/healthz")
        await call(space + "configmaps?fieldManager=me", settings)
        await call(space + "configmaps/c", Authorization="Bearer alice")
        await call(space + "configmaps/c", **{"Impersonate-User": "bob"})
        await call("/version", Authorization="Bearer nobody")
    await runner.cleanup()
    await server.close()
    auditor.close()
    text = file.read_text()
    assert "hidden-word" not in text
    assert "aGlkZGVuLXdvcmQ" not in text
    made, read, created, forbidden, other, unknown, *_ = map(json.loads, text.splitlines())
    assert (made["level"], made["verb"], made["stage"]) == ("Metadata", "create", "ResponseComplete")
    assert made["objectRef"] == {"resource": "secrets", "namespace": "default", "name": "s", "apiVersion": "v1"}
    assert made["user"]["username"] == "admin"
    assert MASTERS in made["user"]["groups"]
    assert (made["userAgent"], made["sourceIPs"]) == ("test/1", ["127.0.0.1"])
    assert made["annotations"]["authorization.k8s.io/decision"] == "allow"
    assert read["responseStatus"] == {"metadata": {}, "code": 200}
    assert created["requestURI"] == space + "configmaps?fieldManager=me"
    assert created["requestObject"] == settings
    assert created["responseObject"]["metadata"]["uid"]
    assert created["responseStatus"]["code"] == 201
    assert forbidden["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert forbidden["responseStatus"]["reason"] == "Forbidden"
    assert (other["user"]["username"], other["impersonatedUser"]["username"]) == ("admin", "bob")
    assert unknown["user"] == {}
    assert unknown["responseStatus"]["code"] == 401


def test_a_rotation_that_fails_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = LogFile(tmp_path / "audit.log", VirtualClock(), 10, 3)
    log.write(b"12345678\n")
    with monkeypatch.context() as full:

        def no_more_files(*_: Any) -> int:
            raise OSError(errno.EMFILE, "Too many open files")

        full.setattr(os, "open", no_more_files)
        log.write(b"is lost\n")
    log.write(b"is kept\n")
    log.close()
    assert (tmp_path / "audit.log").read_bytes() == b"is kept\n"
