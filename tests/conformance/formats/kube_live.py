"""Conversations with an API server; how they are replayed is in ``tests.conformance.kube_live``."""

from tests.conformance.kube_live import FORMAT

FORMATS = (FORMAT,)
