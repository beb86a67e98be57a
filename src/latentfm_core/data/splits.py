"""Import path of the first version; new code uses `latentfm_core.datasets.splits`."""

from latentfm_core.datasets.splits import Split, make_split, read_groups, read_split, write_split

__all__ = ["Split", "make_split", "read_groups", "read_split", "write_split"]
