"""`python -m raysearch`."""

import sys

from raysearch.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
