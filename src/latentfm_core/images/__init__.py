"""Reading images, and the canvas of the network."""
