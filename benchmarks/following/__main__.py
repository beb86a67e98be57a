"""Run ``python -m benchmarks.following``."""

import sys

from benchmarks.following.cli import main

if __name__ == "__main__":
    sys.exit(main())
