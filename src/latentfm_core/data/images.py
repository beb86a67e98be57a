"""Import path of the first version; new code uses `latentfm_core.images.read`."""

from latentfm_core.images.read import list_images, read_image, read_labels, read_mask, to_rgb

__all__ = ["list_images", "read_image", "read_labels", "read_mask", "to_rgb"]
