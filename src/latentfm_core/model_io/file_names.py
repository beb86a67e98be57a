"""Names of the files in a model folder."""

from __future__ import annotations

WEIGHTS = "model.safetensors"
CARD = "model.json"
DOMAIN = "domain.safetensors"
ENSEMBLE = "ensemble.json"
"""Card of an ensemble, in the folder that contains the model folders."""
