"""A folder of images as a work list: what is done, what is left, and in which order."""
