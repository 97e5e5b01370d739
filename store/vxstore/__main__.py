"""`python -m vxstore`."""

import sys

from vxstore.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
