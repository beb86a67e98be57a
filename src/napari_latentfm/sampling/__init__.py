"""The sampling panel: planes, stacks, the current view and large images in tiles."""
