"""The work list panel: a folder of images, one after the other."""
