"""Result files: TIFF and PNG maps, and a JSON sidecar with their provenance."""
