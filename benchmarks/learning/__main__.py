"""``python -m benchmarks.learning``."""

import sys

from benchmarks.learning.cli import main

if __name__ == "__main__":
    sys.exit(main())
