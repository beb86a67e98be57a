"""Import path of the first version; new code uses `latentfm_core.datasets.pairs`."""

from latentfm_core.datasets.pairs import Pair, find_pairs

__all__ = ["Pair", "find_pairs"]
