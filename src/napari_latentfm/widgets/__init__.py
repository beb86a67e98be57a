"""Import paths of the panels that scripts written for the first version use."""
