"""Point at an object with boxes, points and strokes, and see its outlines at once."""
