"""Run `vxdist attribute` under torchrun, srun or plain python.

torchrun --nproc-per-node 2 launch/attribute.py --config configs/demo.yaml
"""

import sys

from vxdist.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "attribute")
    sys.exit(main())
