"""Fixtures that every test may use."""

from tests.fixtures import blob_folders, tiny_model_folder

__all__ = ["blob_folders", "tiny_model_folder"]
