"""Stores for artifacts, one file per kind behind ``executor.artifacts.ArtifactDriver``."""
