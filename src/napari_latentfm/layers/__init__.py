"""Result layers: from an image layer to the plane that is segmented, and back into the viewer."""
