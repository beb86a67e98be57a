"""Work list of a folder of images: state, order and export."""
