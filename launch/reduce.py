"""Run `vxdist reduce` under torchrun, srun or plain python.

torchrun --nproc-per-node 2 launch/reduce.py --config configs/demo.yaml
"""

import sys

from vxdist.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "reduce")
    sys.exit(main())
