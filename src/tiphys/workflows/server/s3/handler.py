"""S3's requests and answers over HTTP: path style, and virtual-host style for hosts that begin with a bucket's name.

    GET /                              buckets                PUT|DELETE|HEAD|GET /bucket      make, delete, test, list
    GET|HEAD|PUT|DELETE /bucket/key    objects (Range, copy)  POST /bucket?delete              many at once
    POST /bucket/key?uploads, PUT …?partNumber&uploadId, POST|DELETE|GET …?uploadId            uploads in parts

Bodies are streamed to a draft and checked while they pass: against the digest that was signed, chunk by chunk where the
client signs so, and against Content-MD5. Nothing is stored of a body that is not what it was said to be.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from aiohttp import web

from tiphys.runtime.clock import Clock
from tiphys.workflows.server.s3 import signatures
from tiphys.workflows.server.s3.objects import CHUNK, Object, Objects, Refused
from tiphys.workflows.server.s3.signatures import Asked, Denied, Verified

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
REGION = "us-east-1"
PAGE_MAX = 1000
DOCUMENT_BYTES_MAX = 4 << 20
CHUNK_LINE_MAX, CHUNK_BYTES_MAX = 4096, 64 << 20
_DENIED_STATUS = {"AuthorizationHeaderMalformed": 400, "AuthorizationQueryParametersError": 400}


@dataclass(frozen=True, slots=True)
class Call:
    """A verified request."""

    request: web.Request
    who: Verified
    bucket: str
    key: str
    query: Mapping[str, str]

    def has(self, word: str) -> bool:
        return word in self.query


class S3Handler:
    """``secrets``: access key → secret key."""

    def __init__(self, objects: Objects, secrets: Mapping[str, str], clock: Clock) -> None:
        self._objects = objects
        self._secrets = secrets
        self._clock = clock

    def application(self) -> web.Application:
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{rest:.*}", self.answer)
        return app

    async def answer(self, request: web.Request) -> web.StreamResponse:
        try:
            call = self._verified(request)
            return await self._route(call)
        except Denied as err:
            return _failure(request, _DENIED_STATUS.get(err.code, 403), err.code, str(err))
        except Refused as err:
            return _failure(request, err.status, err.code, str(err))
        except OSError as err:
            return _failure(request, 500, "InternalError", f"We encountered an internal error: {err.strerror or err}")

    def _verified(self, request: web.Request) -> Call:
        path, _, query = request.raw_path.partition("?")
        headers = {name.lower(): value for name, value in request.headers.items()}
        who = signatures.verify(Asked(request.method, path, query, headers), self._secrets, self._clock.now())
        bucket, _, key = unquote(path).lstrip("/").partition("/")
        label = headers.get("host", "").partition(".")[0]
        if "." in headers.get("host", "") and self._objects.has_bucket(label):
            bucket, key = label, unquote(path).removeprefix("/")
        return Call(request, who, bucket, key, dict(parse_qsl(query, keep_blank_values=True)))

    async def _route(self, call: Call) -> web.StreamResponse:
        if not call.bucket:
            return self._list_buckets()
        if not call.key:
            return await self._bucket(call)
        table: dict[str, Callable[[Call], Awaitable[web.StreamResponse]]] = {
            "GET": self._parts if call.has("uploadId") else self._get,
            "HEAD": self._get,
            "PUT": self._put_part if call.has("partNumber") else self._put,
            "POST": self._begin if call.has("uploads") else self._complete,
            "DELETE": self._abort if call.has("uploadId") else self._delete,
        }
        act = table.get(call.request.method)
        if act is None:
            raise Refused("MethodNotAllowed", "The specified method is not allowed against this resource.", 405)
        return await act(call)

    # Buckets.

    def _list_buckets(self) -> web.Response:
        rows = "".join(
            f"<Bucket><Name>{escape(name)}</Name><CreationDate>{_time(made)}</CreationDate></Bucket>"
            for name, made in self._objects.buckets()
        )
        owner = "<Owner><ID>tiphys</ID><DisplayName>tiphys</DisplayName></Owner>"
        return _document("ListAllMyBucketsResult", f"{owner}<Buckets>{rows}</Buckets>")

    async def _bucket(self, call: Call) -> web.StreamResponse:
        method = call.request.method
        if method == "PUT":
            await _small(call)
            self._objects.make_bucket(call.bucket)
            return web.Response(headers={"Location": f"/{call.bucket}"})
        if not self._objects.has_bucket(call.bucket):
            raise Refused("NoSuchBucket", "The specified bucket does not exist", 404)
        if method == "HEAD":
            return web.Response(headers={"x-amz-bucket-region": REGION})
        if method == "DELETE":
            self._objects.delete_bucket(call.bucket)
            return web.Response(status=204)
        if method == "POST" and call.has("delete"):
            return await self._delete_many(call)
        if method == "GET" and call.has("location"):
            return _document("LocationConstraint", "")
        if method == "GET" and call.has("versioning"):
            return _document("VersioningConfiguration", "")
        if method == "GET":
            return await asyncio.to_thread(self._list, call)
        raise Refused("MethodNotAllowed", "The specified method is not allowed against this resource.", 405)

    def _list(self, call: Call) -> web.Response:
        query = call.query
        second = query.get("list-type") == "2"
        limit = query.get("max-keys", "")
        most = min(int(limit), PAGE_MAX) if limit.isdecimal() else PAGE_MAX
        after = query.get("start-after", "") if second else query.get("marker", "")
        if second and query.get("continuation-token"):
            after = _token_text(query["continuation-token"])
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        page = self._objects.page(call.bucket, prefix, delimiter, after, most)
        shown = _url_shown if query.get("encoding-type") == "url" else escape
        body = f"<Name>{escape(call.bucket)}</Name><Prefix>{shown(prefix)}</Prefix><MaxKeys>{most}</MaxKeys>"
        body += f"<Delimiter>{shown(delimiter)}</Delimiter>" if delimiter else ""
        body += "<EncodingType>url</EncodingType>" if query.get("encoding-type") == "url" else ""
        body += f"<IsTruncated>{'true' if page.next_token else 'false'}</IsTruncated>"
        if second:
            body += f"<KeyCount>{len(page.objects) + len(page.prefixes)}</KeyCount>"
            if page.next_token:
                body += f"<NextContinuationToken>{_token(page.next_token)}</NextContinuationToken>"
        elif page.next_token:
            body += f"<NextMarker>{shown(page.next_token)}</NextMarker>"
        body += "".join(f"<Contents><Key>{shown(row.key)}</Key>{_row(row)}</Contents>" for row in page.objects)
        body += "".join(f"<CommonPrefixes><Prefix>{shown(name)}</Prefix></CommonPrefixes>" for name in page.prefixes)
        return _document("ListBucketResult", body)

    async def _delete_many(self, call: Call) -> web.Response:
        document = _parsed(await _small(call))
        keys = [e.text or "" for e in document.iter() if e.tag.rpartition("}")[2] == "Key"]
        if len(keys) > PAGE_MAX:
            raise Refused("MalformedXML", f"No more than {PAGE_MAX} keys at once.", 400)
        rows = []
        for key in keys:
            try:
                self._objects.delete(call.bucket, key)
                rows.append(f"<Deleted><Key>{escape(key)}</Key></Deleted>")
            except Refused as err:
                said = f"<Code>{err.code}</Code><Message>{escape(str(err))}</Message>"
                rows.append(f"<Error><Key>{escape(key)}</Key>{said}</Error>")
        return _document("DeleteResult", "".join(rows))

    # Objects.

    async def _get(self, call: Call) -> web.StreamResponse:
        known = self._objects.head(call.bucket, call.key)
        tag = f'"{known.tag}"'
        headers = {
            "ETag": tag,
            "Last-Modified": formatdate(known.modified, usegmt=True),
            "Content-Type": known.content_type or "application/octet-stream",
            "Accept-Ranges": "bytes",
        }
        if call.request.headers.get("If-None-Match") in (tag, "*"):
            return web.Response(status=304, headers=headers)
        if call.request.headers.get("If-Match", tag) not in (tag, "*"):
            raise Refused("PreconditionFailed", "At least one of the preconditions you specified did not hold.", 412)
        begin, length, status = _range(call.request.headers.get("Range", ""), known.size)
        if status == 206:
            headers["Content-Range"] = f"bytes {begin}-{begin + length - 1}/{known.size}"
        answer = web.StreamResponse(status=status, headers=headers)
        answer.content_length = length
        await answer.prepare(call.request)
        if call.request.method == "GET":
            await _send_file(answer, self._objects.path(call.bucket, call.key), begin, length)
        await answer.write_eof()
        return answer

    async def _put(self, call: Call) -> web.Response:
        source = call.request.headers.get("x-amz-copy-source")
        if source:
            return await self._copy(call, source)
        if call.key.endswith("/"):
            await _small(call)
            self._objects.make_directory(call.bucket, call.key)
            return web.Response(headers={"ETag": f'"{hashlib.md5(b"", usedforsecurity=False).hexdigest()}"'})
        draft = self._objects.draft(call.bucket, call.key)
        tag = await _receive(call, draft)
        self._objects.take(draft, call.bucket, call.key, tag, call.request.headers.get("Content-Type", ""))
        return web.Response(headers={"ETag": f'"{tag}"'})

    async def _copy(self, call: Call, source: str) -> web.Response:
        await _small(call)
        bucket, _, key = unquote(source).lstrip("/").partition("?")[0].partition("/")
        known, place = self._objects.head(bucket, key), self._objects.path(bucket, key)
        draft = self._objects.draft(call.bucket, call.key)
        await asyncio.to_thread(_copy_file, place, draft)
        self._objects.take(draft, call.bucket, call.key, known.tag, known.content_type)
        made = self._objects.head(call.bucket, call.key)
        rows = f"<ETag>&quot;{made.tag}&quot;</ETag><LastModified>{_time(made.modified)}</LastModified>"
        return _document("CopyObjectResult", rows)

    async def _delete(self, call: Call) -> web.Response:
        self._objects.delete(call.bucket, call.key)
        return web.Response(status=204)

    # Uploads in parts.

    async def _begin(self, call: Call) -> web.Response:
        await _small(call)
        upload = self._objects.begin_upload(call.bucket, call.key, call.request.headers.get("Content-Type", ""))
        names = f"<Bucket>{escape(call.bucket)}</Bucket><Key>{escape(call.key)}</Key>"
        return _document("InitiateMultipartUploadResult", f"{names}<UploadId>{upload}</UploadId>")

    async def _put_part(self, call: Call) -> web.Response:
        number = call.query["partNumber"]
        place = self._objects.part(call.query.get("uploadId", ""), int(number) if number.isdecimal() else 0)
        draft = place.with_suffix(".draft")
        tag = await _receive(call, draft)
        draft.replace(place)
        return web.Response(headers={"ETag": f'"{tag}"'})

    async def _parts(self, call: Call) -> web.Response:
        rows = "".join(
            f"<Part><PartNumber>{number}</PartNumber>{_row(part)}</Part>"
            for number, part in self._objects.parts(call.query["uploadId"])
        )
        names = f"<Bucket>{escape(call.bucket)}</Bucket><Key>{escape(call.key)}</Key>"
        upload = f"<UploadId>{escape(call.query['uploadId'])}</UploadId><IsTruncated>false</IsTruncated>"
        return _document("ListPartsResult", names + upload + rows)

    async def _complete(self, call: Call) -> web.Response:
        document = _parsed(await _small(call))
        numbers = []
        for part in (e for e in document.iter() if e.tag.rpartition("}")[2] == "Part"):
            fields = {e.tag.rpartition("}")[2]: (e.text or "").strip() for e in part}
            number = fields.get("PartNumber", "")
            numbers.append((int(number) if number.isdecimal() else 0, fields.get("ETag", "")))
        upload = call.query.get("uploadId", "")
        tag = await asyncio.to_thread(self._objects.complete, call.bucket, call.key, upload, numbers)
        names = f"<Bucket>{escape(call.bucket)}</Bucket><Key>{escape(call.key)}</Key>"
        where = f"<Location>/{escape(quote(call.bucket))}/{escape(quote(call.key))}</Location>"
        return _document("CompleteMultipartUploadResult", f"{where}{names}<ETag>&quot;{tag}&quot;</ETag>")

    async def _abort(self, call: Call) -> web.Response:
        self._objects.abort(call.query["uploadId"])
        return web.Response(status=204)


async def _receive(call: Call, draft: Path) -> str:
    """The body, checked, in a file; its MD5. Raises ``Refused`` and leaves nothing."""
    md5, sha = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    try:
        with draft.open("wb") as file:
            async for data in _body(call):
                md5.update(data)
                sha.update(data)
                file.write(data)
        _check_digests(call, md5.digest(), sha.hexdigest())
    except BaseException:
        os.unlink(draft)
        raise
    return md5.hexdigest()


def _check_digests(call: Call, md5: bytes, sha256: str) -> None:
    signed = call.who.payload
    if len(signed) == 64 and not hmac.compare_digest(signed, sha256):
        text = "The provided 'x-amz-content-sha256' header does not match what was computed."
        raise Refused("XAmzContentSHA256Mismatch", text, 400)
    said = call.request.headers.get("Content-MD5")
    if said and said != base64.b64encode(md5).decode():
        raise Refused("BadDigest", "The Content-MD5 you specified did not match what we received.", 400)


async def _small(call: Call) -> bytes:
    """A body that is a document, whole and checked."""
    data = bytearray()
    async for block in _body(call):
        data += block
        if len(data) > DOCUMENT_BYTES_MAX:
            raise Refused("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", 400)
    _check_digests(call, hashlib.md5(data, usedforsecurity=False).digest(), hashlib.sha256(data).hexdigest())
    return bytes(data)


async def _body(call: Call) -> AsyncIterator[bytes]:
    if call.who.payload.startswith("STREAMING-"):
        async for data in _chunks(call):
            yield data
        return
    async for data in call.request.content.iter_chunked(CHUNK):
        yield data


async def _chunks(call: Call) -> AsyncIterator[bytes]:
    """The data of a body in signed (or counted) chunks; what comes after the last is not looked at."""
    content, before = call.request.content, call.who.signature
    is_signed = call.who.payload in (signatures.CHUNKS, signatures.CHUNKS_AND_TRAILER)
    while True:
        line = (await content.readline()).strip()
        head, _, rest = line.partition(b";")
        if not head or len(line) > CHUNK_LINE_MAX:
            raise Refused("IncompleteBody", "The request body terminated unexpectedly", 400)
        try:
            size = int(head, 16)
        except ValueError:
            raise Refused("InvalidRequest", "The body is not in chunks as it says", 400) from None
        if size > CHUNK_BYTES_MAX:
            raise Refused("InvalidRequest", f"A chunk of more than {CHUNK_BYTES_MAX} bytes", 400)
        try:
            data = await content.readexactly(size)
        except asyncio.IncompleteReadError:
            raise Refused("IncompleteBody", "The request body terminated unexpectedly", 400) from None
        if is_signed:
            expected = call.who.chunk_signature(before, data)
            if not hmac.compare_digest(expected.encode(), rest.removeprefix(b"chunk-signature=")):
                text = "The request signature we calculated does not match the signature you provided."
                raise Refused("SignatureDoesNotMatch", text, 403)
            before = expected
        if not size:
            await content.read()
            return
        await content.readline()
        yield data


async def _send_file(answer: web.StreamResponse, place: Path, begin: int, length: int) -> None:
    with place.open("rb") as file:
        file.seek(begin)
        while length and (data := await asyncio.to_thread(file.read, min(CHUNK, length))):
            length -= len(data)
            await answer.write(data)


def _range(text: str, size: int) -> tuple[int, int, int]:
    """(first byte, how many, status) for a Range header; one that is none asks for everything."""
    first, dash, last = text.removeprefix("bytes=").partition("-")
    if not text.startswith("bytes=") or not dash or not (first.isdecimal() or last.isdecimal()) or "," in text:
        return 0, size, 200
    if not first:
        begin, end = max(0, size - int(last)), size - 1
    else:
        begin, end = int(first), min(int(last), size - 1) if last.isdecimal() else size - 1
    if begin >= size or begin > end:
        raise Refused("InvalidRange", "The requested range is not satisfiable", 416)
    return begin, end - begin + 1, 206


def _copy_file(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def _parsed(data: bytes) -> ElementTree.Element:
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise Refused("MalformedXML", "Document types are not accepted.", 400)
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError:
        text = "The XML you provided was not well-formed or did not validate against our published schema"
        raise Refused("MalformedXML", text, 400) from None


def _row(row: Object) -> str:
    tag = f"<ETag>&quot;{row.tag}&quot;</ETag><Size>{row.size}</Size><StorageClass>STANDARD</StorageClass>"
    return f"<LastModified>{_time(row.modified)}</LastModified>{tag}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _token(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _token_text(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Refused("InvalidArgument", "The continuation token provided is incorrect", 400) from None


def _url_shown(text: str) -> str:
    return quote(text, safe="/")


def _document(name: str, body: str) -> web.Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="{NAMESPACE}">{body}</{name}>'
    return web.Response(body=text.encode(), content_type="application/xml")


def _failure(request: web.Request, status: int, code: str, message: str) -> web.Response:
    where = escape(request.path)
    body = (
        f"<Code>{code}</Code><Message>{escape(message)}</Message><Resource>{where}</Resource><RequestId>0</RequestId>"
    )
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{body}</Error>'
    answer = web.Response(status=status, content_type="application/xml")
    if request.method != "HEAD":
        answer.body = text.encode()
    answer.force_close()  # what is left of a body that nobody wants is not read
    return answer
