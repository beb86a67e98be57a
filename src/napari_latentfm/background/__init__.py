"""Work off the GUI thread, and signals that end with their widget."""
