"""Results as files: TIFF and PNG maps, and a JSON file that tells how they were made."""
