"""Which process of a launch this is, from what its launcher set. Free of torch."""

import os
from collections.abc import Mapping


def find_rank(environ: Mapping[str, str] = os.environ) -> int:
    """Rank of this process, from what its launcher set; 0 without one."""
    slurm = environ.get("SLURM_PROCID", "0") if under_slurm(environ) else "0"
    return int(environ.get("RANK", environ.get("LOCAL_RANK", slurm)))


def under_slurm(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether Slurm started this process as one of a job's tasks, not an interactive shell in it.

    The rule is Lightning's.
    """
    interactive = environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return "SLURM_NTASKS" in environ and not interactive


def is_first_rank() -> bool:
    """Whether this process is rank 0 of its launch, or the only one."""
    return find_rank() == 0
