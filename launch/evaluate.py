"""Run `vxdist evaluate` under torchrun, srun or plain python.

torchrun --nproc-per-node 2 launch/evaluate.py --config configs/demo.yaml
"""

import sys

from vxdist.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
