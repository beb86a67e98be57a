"""What a reviewer does with samples: compare, walk through doubt, correct. No Qt, no napari."""
