"""What a set of samples says about each pixel."""
