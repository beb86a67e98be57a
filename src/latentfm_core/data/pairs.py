"""At its first path; new code imports `latentfm_core.datasets.pairs`."""

from latentfm_core.datasets.pairs import Pair, find_pairs

__all__ = ["Pair", "find_pairs"]
