"""Fixtures that every test may use."""

from tests.fixtures import blob_folders, calibrated_model_folder, tiny_model_folder
from tests.plugin_fixtures import blob_image, docked_panel

__all__ = [
    "blob_folders",
    "blob_image",
    "calibrated_model_folder",
    "docked_panel",
    "tiny_model_folder",
]
