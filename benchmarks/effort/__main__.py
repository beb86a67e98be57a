"""``python -m benchmarks.effort``."""

import sys

from benchmarks.effort.cli import main

if __name__ == "__main__":
    sys.exit(main())
