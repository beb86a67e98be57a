"""How much a model gains from a few corrected images of a kind it has never seen."""
