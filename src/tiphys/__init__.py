"""Argo Workflows, CD, Rollouts and Events in one Python package, with an embedded Kubernetes."""

__version__ = "0.1.0"
