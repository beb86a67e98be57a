"""The queue panel: a folder of images, one after the other."""
