"""Sphinx: the site that `make docs` builds, with warnings as errors."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path

project = "napari-latentfm"
author = "napari-latentfm maintainers"
copyright = author
release = installed("napari-latentfm")

# MyST, so that the pages read as well on a code host as on the site; pydata is napari's own theme.
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.mermaid"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
myst_fence_as_directive = ["mermaid"]

autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "model_config"}
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "pydata_sphinx_theme"
html_title = "napari-latentfm"
html_theme_options = {"show_prev_next": False, "navigation_with_keys": False}
html_show_sourcelink = False
html_show_copyright = False
html_logo = "images/icon.svg"
html_favicon = "images/icon.svg"

sys.path.insert(0, str(Path(__file__).parent))
from settings_page import write_page  # noqa: E402  # found only by the line before

write_page(Path(__file__).with_name("settings.md"))
