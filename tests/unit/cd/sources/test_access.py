"""Who we are to a repository, and whom we believe: against servers that insist."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from tests.unit.cd.sources.servers import Site, authority, basic, client_pair, serving, ssh_server
from tests.unit.cd.sources.test_charts import archive
from tests.unit.cd.sources.test_git import Origin
from tiphys.cd.repositories import CERTIFICATES, KNOWN_HOSTS, Trusted, credentials_for
from tiphys.cd.sources import https
from tiphys.cd.sources.charts import ChartRepository, ChartStore
from tiphys.cd.sources.credentials import Credentials, GitHubApp
from tiphys.cd.sources.git import GitError, GitStore, Repository
from tiphys.cd.sources.github_app import GitHubApps, owner_of
from tiphys.cd.sources.request import RenderError
from tiphys.runtime.clock import SystemClock

CHART = archive({"demo/Chart.yaml": "version: 1.0.0"})
FILES = {"index.yaml": b"entries: {demo: [{version: 1.0.0, urls: [demo.tgz]}]}", "demo.tgz": CHART}


@pytest.fixture
async def charts(tmp_path: Path) -> AsyncIterator[ChartStore]:
    async with aiohttp.ClientSession() as session:
        yield ChartStore(tmp_path / "charts", session)


async def fetched(charts: ChartStore, url: str, **credentials: Any) -> bool:
    place = await charts.checkout(ChartRepository(url, Credentials(**credentials)), "demo", "1.0.0", hard=True)
    return (place / "Chart.yaml").is_file()


async def test_a_chart_repository_with_a_token(charts: ChartStore) -> None:
    async with serving(Site(dict(FILES), authorization="Bearer t0k")) as url:
        assert await fetched(charts, url, bearer_token="t0k")
        with pytest.raises(RenderError, match="answered 401"):
            await fetched(charts, url, bearer_token="other")


async def test_a_chart_repository_with_certificates_of_its_own(charts: ChartStore, tmp_path: Path) -> None:
    trusted = authority(tmp_path)
    certificate, key = client_pair(trusted)
    ca = trusted.ca.certificate.read_text()
    async with serving(Site(dict(FILES), needs_certificate=True), trusted) as url:
        assert await fetched(charts, url, ca_certificates=ca, client_certificate=certificate, client_key=key)
        assert await fetched(charts, url, insecure=True, client_certificate=certificate, client_key=key)
        with pytest.raises(RenderError, match="answered 403"):
            await fetched(charts, url, ca_certificates=ca)
        with pytest.raises(RenderError, match=r"could not be fetched.*certificate verify failed"):
            await fetched(charts, url, client_certificate=certificate, client_key=key)
        with pytest.raises(RenderError, match="certificates of the repository cannot be used"):
            await fetched(charts, url, ca_certificates="no PEM")


async def test_a_chart_repository_behind_a_proxy(charts: ChartStore) -> None:
    site = Site(dict(FILES))
    async with serving(site) as proxy:
        assert await fetched(charts, "http://charts.invalid", proxy=proxy)
        assert {host for host, _ in site.seen} == {"charts.invalid"}
        with pytest.raises(RenderError, match="could not be fetched"):
            await fetched(charts, "http://charts.invalid", proxy=proxy, no_proxy="localhost, .invalid")


async def test_a_password_goes_to_archives_elsewhere_only_where_the_source_says_so(charts: ChartStore) -> None:
    archives = Site({"demo.tgz": CHART}, authorization=basic("u", "p"))
    async with serving(archives) as elsewhere:
        index = FILES["index.yaml"].replace(b"demo.tgz", f"{elsewhere}/demo.tgz".encode())
        site = Site({"index.yaml": index})
        async with serving(site) as url:
            repository = ChartRepository(url, Credentials(username="u", password="p"))
            with pytest.raises(RenderError, match="answered 401"):
                await charts.checkout(repository, "demo", "1.0.0")
            await charts.checkout(replace(repository, passes_credentials=True), "demo", "1.0.0")


@pytest.mark.parametrize(
    ("no_proxy", "url", "goes"),
    [
        ("", "https://a.example.com", True),
        ("*", "https://a.example.com", False),
        ("example.com", "https://a.example.com", False),
        ("example.com", "https://example.com", False),
        ("example.com", "https://badexample.com", True),
        (".example.com", "https://example.com", True),
        ("*.example.com", "https://a.example.com", False),
        ("other, example.com:8443", "https://example.com:8443", False),
        ("example.com:8443", "https://example.com", True),
        ("10.0.0.0/8", "http://10.1.2.3", False),
        ("10.0.0.0/8", "http://11.1.2.3", True),
        ("fd00::1", "https://[fd00::1]:444", False),
    ],
)
def test_which_hosts_a_proxy_is_not_for(no_proxy: str, url: str, goes: bool) -> None:
    found = https.proxy(Credentials(proxy="http://proxy:3128", no_proxy=no_proxy), url)
    assert found == ("http://proxy:3128" if goes else None)


@pytest.mark.parametrize(
    ("wants", "given"),
    [
        (basic("me", "s3cret"), {"username": "me", "password": "s3cret"}),
        (basic("x-access-token", "s3cret"), {"password": "s3cret"}),
        ("Bearer t0k", {"bearer_token": "t0k"}),
        (basic("me", "s3cret"), {"username": "me", "password": "s3cret", "force_basic": True}),
    ],
)
async def test_git_over_https(tmp_path: Path, wants: str, given: dict[str, Any]) -> None:
    origin = Origin(tmp_path / "origin")
    commit = origin.commit({"a": "1"})
    trusted = authority(tmp_path)
    certificate, key = client_pair(trusted)
    more: dict[str, Any] = {"client_certificate": certificate, "client_key": key}
    site = Site(repositories=tmp_path, authorization=wants, needs_certificate=True)
    store = GitStore(tmp_path / "store")
    async with serving(site, trusted) as url:
        credentials = Credentials(ca_certificates=trusted.ca.certificate.read_text(), **given, **more)
        place = await store.checkout(Repository(f"{url}/origin/.git", credentials), commit)
        assert (place / "a").read_text() == "1"
        with pytest.raises(GitError, match="certificate"):
            await store.references(Repository(f"{url}/origin/.git", Credentials(**given, **more)))
        wrong = replace(credentials, password="wr0ng", bearer_token="")
        with pytest.raises(GitError) as caught:
            await store.references(Repository(f"{url}/origin/.git", wrong))
        assert "wr0ng" not in str(caught.value)


async def test_git_over_ssh(tmp_path: Path) -> None:
    origin = Origin(tmp_path / "origin")
    commit = origin.commit({"a": "1"})
    store = GitStore(tmp_path / "store")
    async with ssh_server(tmp_path) as server:
        url = f"{server.url}{origin.place}"
        known = Credentials(ssh_private_key=server.private_key, known_hosts=server.known_hosts)
        assert (await store.references(Repository(url, known)))["refs/heads/main"] == commit
        assert await store.references(Repository(url, replace(known, known_hosts="", insecure=True)))
        with pytest.raises(GitError, match="Host key verification failed"):
            await store.references(Repository(url, replace(known, known_hosts="# nobody\n")))
        with pytest.raises(GitError, match="Permission denied"):
            await store.references(Repository(url, replace(known, ssh_private_key="")))


def secret(kind: str, **data: str) -> dict[str, Any]:
    coded = {name: base64.b64encode(value.encode()).decode() for name, value in data.items()}
    return {"metadata": {"labels": {"argocd.argoproj.io/secret-type": kind}}, "data": coded}


def test_the_template_with_the_longest_beginning_gives_what_a_repository_lacks() -> None:
    secrets = [
        secret("repo-creds", url="https://git.example.com", password="far"),
        secret("repo-creds", url="https://git.example.com/team", password="near", proxy="http://p:1"),
        secret("repository", url="https://git.example.com/team/a", insecure="true", depth="3"),
        secret("repository", url="https://git.example.com/team/b.git", password="own"),
        secret(
            "repository",
            url="https://git.example.com/team/c",
            project="x",
            githubAppID="7",
            githubAppPrivateKey="k",
        ),
    ]

    def found(name: str, project: str = "default") -> Credentials:
        return credentials_for(secrets, f"https://git.example.com/{name}", project)

    assert found("other").password == "far"
    a = found("team/a")
    assert (a.password, a.proxy, a.insecure, a.depth) == ("near", "http://p:1", True, 3)
    assert found("team/b").password == "own" and found("team/b").proxy == ""
    assert found("team/c").github_app is None and found("team/c", "x").github_app == GitHubApp(7, "k")
    assert found("../elsewhere").password == "far" and credentials_for(secrets, "https://x.com", "").password == ""


def test_whom_to_trust_is_in_config_maps() -> None:
    maps = [
        {"metadata": {"name": KNOWN_HOSTS}, "data": {"ssh_known_hosts": "git.example.com ssh-rsa AAA\n"}},
        {"metadata": {"name": CERTIFICATES}, "data": {"git.example.com": "PEM"}},
    ]
    trusted = Trusted.of(maps)
    for url, certificates in {
        "https://git.example.com/a": "PEM",
        "https://me@git.example.com:8443/a": "PEM",
        "git.example.com:5000/charts": "PEM",
        "oci://git.example.com/a": "PEM",
        "https://other.example.com/a": "",
        "git@git.example.com:a": "",
    }.items():
        found = credentials_for([], url, "default", trusted=trusted)
        assert (found.ca_certificates, found.known_hosts) == (certificates, "git.example.com ssh-rsa AAA\n"), url


class GitHub:
    """Gives tokens to whoever signs with the key, and counts them."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.given = 0
        self.lasts_until = "2999-01-01T00:00:00Z"

    @property
    def pem(self) -> str:
        kind, coded, bare = serialization.PrivateFormat.TraditionalOpenSSL, serialization.Encoding.PEM, serialization
        return self.key.private_bytes(coded, kind, bare.NoEncryption()).decode()

    def is_signed(self, request: web.Request) -> bool:
        signed, _, signature = request.headers["Authorization"].removeprefix("Bearer ").rpartition(".")
        raw = base64.urlsafe_b64decode(signature + "==")
        self.key.public_key().verify(raw, signed.encode(), padding.PKCS1v15(), SHA256())
        claims = json.loads(base64.urlsafe_b64decode(signed.split(".")[1] + "=="))
        return bool(claims["iss"] == "12" and 0 < claims["exp"] - claims["iat"] <= 600)

    async def answer(self, request: web.Request) -> web.Response:
        if not self.is_signed(request):
            return web.Response(status=401)
        if request.path == "/api/v3/app/installations":
            page = int(request.query["page"])
            more = {"permissions": "x" * 4_000}  # GitHub says a lot of each: an answer comes in many pieces
            rows = [
                {"id": 100 * page + n, "account": {"login": f"Org{page}-{n}"}, **more}
                for n in range(100 if page < 3 else 2)
            ]
            return web.json_response(rows)
        self.given += 1
        number = request.path.split("/")[-2]
        return web.json_response({"token": f"t-{number}-{self.given}", "expires_at": self.lasts_until}, status=201)


async def test_a_github_app_gets_a_token_for_its_installation() -> None:
    github = GitHub()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", github.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    api = f"{site.name}/api/v3"
    try:
        async with aiohttp.ClientSession() as session:
            apps = GitHubApps(session, SystemClock())

            async def token(installation: int, url: str = "https://github.example.com/org3-1/r") -> str:
                given = Credentials(github_app=GitHubApp(12, github.pem, installation, api))
                found = await apps.exchanged(given, url)
                assert found.username == "x-access-token" and found.github_app is None
                return found.password

            assert await token(5) == "t-5-1"
            assert await token(5) == "t-5-1"
            assert await token(0) == "t-301-2"
            github.lasts_until = "2020-01-01T00:00:00Z"
            assert await token(6) == "t-6-3"
            assert await token(6) == "t-6-4"
            with pytest.raises(RenderError, match="GitHub App 12 is not installed for nobody"):
                await token(0, "git@github.example.com:Nobody/r.git")
            other = GitHub()
            with pytest.raises(RenderError, match=r"^GitHub App 12: http\S+/access_tokens answered 500"):
                await apps.exchanged(Credentials(github_app=GitHubApp(12, other.pem, 5, api)), "")
            with pytest.raises(RenderError, match="private key of GitHub App 12 cannot be read"):
                await apps.exchanged(Credentials(github_app=GitHubApp(12, "x", 7, api)), "")
            plain = Credentials(password="p", github_app=GitHubApp(12, "x", 7, api))
            assert await apps.exchanged(plain, "") is plain
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("url", "owner"),
    [
        ("https://github.com/Org/repo.git", "org"),
        ("https://user@github.com:443/Org/repo", "org"),
        ("git@github.com:Org/repo", "org"),
        ("ssh://git@github.com/Org/repo", "org"),
        ("ssh://git@github.com:22/Org/repo", "org"),
    ],
)
def test_the_owner_of_a_repository(url: str, owner: str) -> None:
    assert owner_of(url) == owner
