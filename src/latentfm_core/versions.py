"""Versions of installed packages."""

from __future__ import annotations

import importlib.metadata


def package_version(name: str = "napari-latentfm") -> str:
    """Return the installed version of a package."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
