"""AWS Signature Version 4, from the side that verifies. Pure: values in, a verdict out.

    header    Authorization: AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…
    URL       X-Amz-Algorithm, X-Amz-Credential, X-Amz-Date, X-Amz-Expires, X-Amz-SignedHeaders, X-Amz-Signature
    chunks    "<hex size>;chunk-signature=<hex>\\r\\n<data>\\r\\n" …, each signature over the one before

Comparisons take the same time whatever differs. Nothing here tells a secret.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote, unquote

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
CHUNKS, CHUNKS_AND_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_CHUNKS = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
EMPTY = hashlib.sha256(b"").hexdigest()
SKEW = timedelta(minutes=15)
EXPIRES_SECONDS_MAX = 7 * 86_400
_PART = re.compile(r"(Credential|SignedHeaders|Signature)=([^,\s]+)")
_STAMP = "%Y%m%dT%H%M%SZ"


class Denied(Exception):
    """The request is not what its signature says; ``code`` is S3's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came: ``path`` still quoted, ``query`` raw, header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Verified:
    """Who asked, and what is needed to verify the chunks of the body. ``payload`` is what was signed of it."""

    access_key: str
    payload: str
    stamp: str
    scope: str
    signature: str
    key: bytes = field(repr=False)

    def chunk_signature(self, before: str, data: bytes) -> str:
        """The signature of a chunk; ``before`` is the one of the chunk before, at first the request's."""
        lines = ["AWS4-HMAC-SHA256-PAYLOAD", self.stamp, self.scope, before, EMPTY, hashlib.sha256(data).hexdigest()]
        return hmac.digest(self.key, "\n".join(lines).encode(), "sha256").hex()


def verify(asked: Asked, secrets: Mapping[str, str], now: datetime) -> Verified:
    """``secrets``: access key → secret key. Raises ``Denied``."""
    words = dict(parse_qsl(asked.query, keep_blank_values=True))
    if "X-Amz-Signature" in words:
        return _verify_url(asked, words, secrets, now)
    header = asked.headers.get("authorization", "")
    if not header.startswith(ALGORITHM):
        raise Denied("AccessDenied", "Access Denied.")
    parts = dict(_PART.findall(header))
    if len(parts) != 3:
        raise Denied("AuthorizationHeaderMalformed", "The authorization header is malformed.")
    stamp = asked.headers.get("x-amz-date", "")
    moment = _moment(stamp)
    if abs(now - moment) > SKEW:
        text = "The difference between the request time and the server's time is too large."
        raise Denied("RequestTimeTooSkewed", text)
    payload = asked.headers.get("x-amz-content-sha256", UNSIGNED)
    return _check(
        asked, asked.query, parts["Credential"], parts["SignedHeaders"], parts["Signature"], stamp, payload, secrets
    )


def _verify_url(asked: Asked, words: Mapping[str, str], secrets: Mapping[str, str], now: datetime) -> Verified:
    stamp = words.get("X-Amz-Date", "")
    seconds = words.get("X-Amz-Expires", "")
    if not seconds.isdecimal() or not 1 <= int(seconds) <= EXPIRES_SECONDS_MAX:
        raise Denied("AuthorizationQueryParametersError", "X-Amz-Expires must be a number of seconds up to a week.")
    moment = _moment(stamp)
    if now > moment + timedelta(seconds=int(seconds)) or now < moment - SKEW:
        raise Denied("AccessDenied", "Request has expired")
    rest = "&".join(p for p in asked.query.split("&") if unquote(p.partition("=")[0]) != "X-Amz-Signature")
    payload = asked.headers.get("x-amz-content-sha256", UNSIGNED)
    return _check(
        asked, rest, words.get("X-Amz-Credential", ""), words.get("X-Amz-SignedHeaders", ""), words["X-Amz-Signature"],
        stamp, payload, secrets,
    )  # fmt: skip


def _check(
    asked: Asked,
    query: str,
    credential: str,
    signed: str,
    signature: str,
    stamp: str,
    payload: str,
    secrets: Mapping[str, str],
) -> Verified:
    access, _, scope = credential.partition("/")
    parts = scope.split("/")
    if len(parts) != 4 or parts[2:] != ["s3", "aws4_request"] or not stamp.startswith(parts[0]):
        raise Denied("AuthorizationHeaderMalformed", "The authorization header is malformed; the scope is wrong.")
    secret = secrets.get(access)
    if secret is None:
        raise Denied("InvalidAccessKeyId", "The Access Key Id you provided does not exist in our records.")
    names = signed.split(";")
    if "host" not in names:
        raise Denied("AccessDenied", "There were headers present in the request which were not signed")
    text = "\n".join([ALGORITHM, stamp, scope, canonical_digest(asked, query, names, payload)])
    key = signing_key(secret, *parts)
    expected = hmac.digest(key, text.encode(), "sha256").hex()
    if not hmac.compare_digest(expected, signature.lower()):
        said = "The request signature we calculated does not match the signature you provided."
        raise Denied("SignatureDoesNotMatch", f"{said} Check your key and signing method.")
    return Verified(access, payload, stamp, scope, expected, key)


def canonical_digest(asked: Asked, query: str, names: list[str], payload: str) -> str:
    """The digest of the canonical request."""
    pairs = sorted(
        (_quoted(unquote(name.replace("+", " "))), _quoted(unquote(value.replace("+", " "))))
        for name, _, value in (word.partition("=") for word in query.split("&") if word)
    )
    headers = "".join(f"{name}:{' '.join(asked.headers.get(name, '').split())}\n" for name in names)
    path = quote(unquote(asked.path), safe="/-_.~")
    lines = [asked.method, path, "&".join(f"{n}={v}" for n, v in pairs), headers, ";".join(names), payload]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def signing_key(secret: str, *scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")


def _moment(stamp: str) -> datetime:
    try:
        return datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        raise Denied("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header") from None
