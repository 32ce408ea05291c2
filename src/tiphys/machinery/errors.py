"""Every error that tiphys raises on purpose.

    TiphysError
    ├── SpecError            a manifest or setting is wrong: where (field path) and what to do
    ├── ApiError             a Kubernetes ``Status`` with status Failure, raised by server and client alike
    │   ├── BadRequest       400 BadRequest
    │   ├── Unauthorized     401 Unauthorized
    │   ├── Forbidden        403 Forbidden
    │   ├── NotFound         404 NotFound
    │   ├── MethodNotAllowed 405 MethodNotAllowed
    │   ├── NotAcceptable    406 NotAcceptable
    │   ├── Conflict         409 Conflict
    │   ├── AlreadyExists    409 AlreadyExists
    │   ├── Expired          410 Expired (also the older reason Gone)
    │   ├── TooLarge         413 RequestEntityTooLarge
    │   ├── UnsupportedMediaType 415
    │   ├── Invalid          422 Invalid, with ``details.causes``
    │   ├── TooManyRequests  429 TooManyRequests
    │   ├── InternalError    500 InternalError
    │   ├── ServiceUnavailable 503 ServiceUnavailable
    │   └── Timeout          504 Timeout
    ├── DriverError          an outside system (a runtime, git, S3 …) failed; keeps the cause with ``raise … from``
    └── Bug                  an invariant of ours does not hold; exit code 3

Language errors (``lang``) derive from ValueError and live beside their parsers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class TiphysError(Exception):
    """Anything that tiphys raises on purpose."""


class SpecError(TiphysError):
    """User input that cannot be accepted. ``path`` is a field path such as ``spec.templates[0].name``."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


class DriverError(TiphysError):
    """An outside system failed. ``transient`` says whether the same call may succeed later."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class Bug(TiphysError):
    """An invariant of ours was broken: report it."""


class ApiError(TiphysError):
    """A Kubernetes API failure; ``status()`` is the wire form (kind Status)."""

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "Unknown"

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = dict(details or {})
        # Some answers carry an empty ``details``, others none: {} and None say which.
        self._shows_details = details is not None

    def status(self) -> dict[str, Any]:
        """The ``Status`` object as it goes over the wire."""
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            body["reason"] = self.reason
        if self._shows_details:
            body["details"] = self.details
        body["code"] = self.code
        return body


class BadRequest(ApiError):
    code, reason = 400, "BadRequest"


class Unauthorized(ApiError):
    code, reason = 401, "Unauthorized"


class Forbidden(ApiError):
    code, reason = 403, "Forbidden"


class NotFound(ApiError):
    code, reason = 404, "NotFound"


class MethodNotAllowed(ApiError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(ApiError):
    code, reason = 406, "NotAcceptable"


class Conflict(ApiError):
    code, reason = 409, "Conflict"


class AlreadyExists(ApiError):
    code, reason = 409, "AlreadyExists"


class Expired(ApiError):
    code, reason = 410, "Expired"


class TooLarge(ApiError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    code, reason = 422, "Invalid"


class TooManyRequests(ApiError):
    code, reason = 429, "TooManyRequests"


class InternalError(ApiError):
    code, reason = 500, "InternalError"


class ServiceUnavailable(ApiError):
    code, reason = 503, "ServiceUnavailable"


class Timeout(ApiError):
    code, reason = 504, "Timeout"


_KINDS: tuple[type[ApiError], ...] = (
    BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable, Conflict, AlreadyExists,
    Expired, TooLarge, UnsupportedMediaType, Invalid, TooManyRequests, InternalError, ServiceUnavailable, Timeout,
)  # fmt: skip
_BY_REASON: dict[str, type[ApiError]] = {kind.reason: kind for kind in _KINDS} | {"Gone": Expired}
_BY_CODE: dict[int, type[ApiError]] = {kind.code: kind for kind in _KINDS} | {409: Conflict}


def from_status(status: Mapping[str, Any]) -> ApiError:
    """The error that a ``Status`` of a failed call stands for; an unknown reason falls back to the HTTP code."""
    kind = _BY_REASON.get(str(status.get("reason", ""))) or _BY_CODE.get(int(status.get("code") or 500), ApiError)
    return kind(str(status.get("message", "")), status.get("details"))
