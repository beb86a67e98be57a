"""Import paths that scripts written for the first version use."""
