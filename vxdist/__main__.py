"""`python -m vxdist`."""

import sys

from vxdist.cli import main

if __name__ == "__main__":
    sys.exit(main())
