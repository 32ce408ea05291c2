"""Argo CD: applications come from Git, are compared with what lives in their clusters, and are kept there."""
