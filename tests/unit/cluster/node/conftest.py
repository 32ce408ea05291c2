"""Fixtures that several modules of this folder use."""

from __future__ import annotations

from tests.unit.cluster.node.engine_service import engine_socket

__all__ = ["engine_socket"]
