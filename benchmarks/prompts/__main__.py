"""``python -m benchmarks.prompts``."""

import sys

from benchmarks.prompts.cli import main

if __name__ == "__main__":
    sys.exit(main())
