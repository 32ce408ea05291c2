"""GitHub Apps: the app's key signs a short-lived JWT, which buys a token for one installation, which git uses.

    private key ─RS256─► JWT (minutes) ─POST …/access_tokens─► token (an hour) ─► x-access-token:<token>

An installation that is not named is that of the repository's owner. Tokens are kept until shortly before they run out.
"""

from __future__ import annotations

import base64
import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import aiohttp
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tiphys.cd.sources import https, urls
from tiphys.cd.sources.credentials import Credentials, GitHubApp
from tiphys.cd.sources.request import RenderError
from tiphys.runtime.clock import Clock

USERNAME = "x-access-token"
DEADLINE_SECONDS = 15.0
PAGES_MAX, PER_PAGE = 50, 100
ANSWER_BYTES_MAX = 4 * 1024 * 1024
TOKENS_MAX = 1_000
_BEFORE_THE_END = timedelta(minutes=1)
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_OWNER = re.compile(r"(?:[a-z+]+://(?:[^/@]*@)?[^/]+/|(?:[^/@]*@)?[^/:]+:/*)(?P<owner>[^/]+)/.", re.IGNORECASE)


class GitHubApps:
    """Turns the credentials of apps into those that git understands."""

    def __init__(self, session: aiohttp.ClientSession, clock: Clock) -> None:
        self._session = session
        self._clock = clock
        self._tokens: OrderedDict[tuple[GitHubApp, int], tuple[str, datetime]] = OrderedDict()
        self._installations: OrderedDict[tuple[GitHubApp, str], int] = OrderedDict()

    async def exchanged(self, credentials: Credentials, url: str) -> Credentials:
        """Credentials with a token of the app in place of its key; others as they are. Raises `RenderError`."""
        app = credentials.github_app
        if app is None or credentials.password or credentials.bearer_token or credentials.ssh_private_key:
            return credentials
        installation = app.installation or await self._installation(app, credentials, url)
        token = await self._token(app, installation, credentials)
        return replace(credentials, username=USERNAME, password=token, github_app=None)

    async def _token(self, app: GitHubApp, installation: int, credentials: Credentials) -> str:
        known = self._tokens.get((app, installation))
        if known is not None and self._clock.now() < known[1] - _BEFORE_THE_END:
            return known[0]
        path = f"/app/installations/{installation}/access_tokens"
        answer = await self._ask("POST", path, app, credentials)
        try:
            token, ends = str(answer["token"]), datetime.fromisoformat(str(answer["expires_at"]))
        except (KeyError, TypeError, ValueError):
            raise RenderError(f"GitHub App {app.id}: {app.api} gave no token for installation {installation}") from None
        _keep(self._tokens, (app, installation), (token, ends if ends.tzinfo else ends.replace(tzinfo=UTC)))
        return token

    async def _installation(self, app: GitHubApp, credentials: Credentials, url: str) -> int:
        owner = owner_of(url)
        if (app, owner) in self._installations:
            return self._installations[app, owner]
        for page in range(1, PAGES_MAX + 1):
            rows = await self._ask("GET", f"/app/installations?per_page={PER_PAGE}&page={page}", app, credentials)
            for row in rows if isinstance(rows, list) else ():
                account = row.get("account") if isinstance(row, dict) else None
                if isinstance(account, dict) and str(account.get("login")).lower() == owner:
                    _keep(self._installations, (app, owner), int(row["id"]))
                    return int(row["id"])
            if not isinstance(rows, list) or len(rows) < PER_PAGE:
                break
        raise RenderError(f"GitHub App {app.id} is not installed for {owner}")

    async def _ask(self, method: str, path: str, app: GitHubApp, credentials: Credentials) -> Any:
        url = app.api + path
        headers = {"Authorization": f"Bearer {_jwt(app, self._clock.now())}", "Accept": "application/vnd.github+json"}
        timeout = aiohttp.ClientTimeout(total=DEADLINE_SECONDS)
        trust, way = https.verification(credentials), https.proxy(credentials, url)
        try:
            async with self._session.request(
                method, url, headers=headers, timeout=timeout, ssl=trust, proxy=way, allow_redirects=False
            ) as answer:
                data = await https.body(answer, ANSWER_BYTES_MAX)
                if answer.status not in (200, 201):
                    raise RenderError(f"GitHub App {app.id}: {url} answered {answer.status} {answer.reason}")
                return json.loads(data)
        except RenderError:
            raise
        except (aiohttp.ClientError, TimeoutError, ValueError) as err:
            raise RenderError(f"GitHub App {app.id}: {url}: {err or type(err).__name__}") from None


def owner_of(url: str) -> str:
    """The user or organization whose repository it is, in lower case. Raises `RenderError`."""
    found = _OWNER.match(url)
    if found is None:
        raise RenderError(f"the URL {urls.sanitized(url)} names no owner whose GitHub App could be asked")
    return found["owner"].lower()


def _jwt(app: GitHubApp, now: datetime) -> str:
    """Issued a little before now, since clocks differ, and good for less than the ten minutes that GitHub allows."""
    try:
        key = load_pem_private_key(app.private_key.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise RenderError(f"the private key of GitHub App {app.id} cannot be read") from None
    if not isinstance(key, RSAPrivateKey):
        raise RenderError(f"the private key of GitHub App {app.id} is no RSA key")
    issued = int(now.timestamp()) - 30
    claims = {"iat": issued, "exp": issued + 120, "iss": str(app.id)}
    signed = f"{_coded({'alg': 'RS256', 'typ': 'JWT'})}.{_coded(claims)}"
    return f"{signed}.{_base64(key.sign(signed.encode(), PKCS1v15(), hashes.SHA256()))}"


def _coded(value: Mapping[str, Any]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _keep(kept: OrderedDict[_Key, _Value], key: _Key, value: _Value) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > TOKENS_MAX:
        kept.popitem(last=False)
