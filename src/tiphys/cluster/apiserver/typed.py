"""Reading objects as their type says: unknown fields found, wrong types refused, defaults filled in.

Built-in kinds are read by ``tiphys.api`` as Go's structs would; custom ones as their structural schema says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tiphys.api import decode, defaults, kube_messages
from tiphys.api.defaults import internal
from tiphys.cluster.apiserver.record import Object


class Unreadable(ValueError):
    """A value of a wrong type; the message is the decoder's."""


class Codec(Protocol):
    """How objects of one kind are read."""

    def read(self, obj: Object) -> tuple[Object, Sequence[str]]:
        """The object as the server would keep it, and what a strict reading objects to (``unknown field "x"``).

        ``obj`` may be changed. Raises Unreadable.
        """
        ...

    def empty(self) -> Object:
        """The zero object, kind and apiVersion first."""
        ...


class BuiltinCodec:
    """A kind of ``tiphys.api``."""

    def __init__(self, api_version: str, kind: str, type_name: str) -> None:
        self._api_version, self._kind, self._type = api_version, kind, type_name

    def read(self, obj: Object) -> tuple[Object, Sequence[str]]:
        try:
            found = decode.decode(self._type, obj, strict=True)
        except decode.DecodeError as err:
            raise Unreadable(str(err)) from None
        normal = found.value
        defaults.apply(self._api_version, self._kind, normal)
        internal.convert(self._kind, normal)
        read = decode.pruned(self._type, normal)
        return {"kind": self._kind, "apiVersion": self._api_version} | read, [str(field) for field in found.unknown]

    def empty(self) -> Object:
        return {"kind": self._kind, "apiVersion": self._api_version} | defaults.empty(self._api_version, self._kind)


def builtin_codec(api_version: str, kind: str) -> Codec | None:
    """None for a kind that ``tiphys.api`` does not know."""
    message = kube_messages.message_of(api_version, kind)
    return BuiltinCodec(api_version, kind, message.name) if message else None
