"""What a kustomization's file may be called, in the order in which it is looked for."""

from pathlib import Path

KUSTOMIZATION_NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")


def kustomization_file(place: Path) -> Path | None:
    """The file of a directory, None where it is no kustomization."""
    return next((place / name for name in KUSTOMIZATION_NAMES if (place / name).exists()), None)
