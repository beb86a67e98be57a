"""The work list: annotate the images of a folder one after the other."""
