"""Files, pairs, splits and the network's canvas."""
