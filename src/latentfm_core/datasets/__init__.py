"""Data sets: pairs of images and masks, splits, and known folder layouts."""
