"""The rank of this process, from the environment variables of its launcher. Free of torch."""

import os
from collections.abc import Mapping


def find_rank(environ: Mapping[str, str] = os.environ) -> int:
    """Rank of this process, as set by its launcher; 0 without one."""
    slurm = environ.get("SLURM_PROCID", "0") if under_slurm(environ) else "0"
    return int(environ.get("RANK", environ.get("LOCAL_RANK", slurm)))


def under_slurm(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether Slurm started this process as a task of a job, rather than in an interactive shell.

    This is Lightning's rule.
    """
    interactive = environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return "SLURM_NTASKS" in environ and not interactive


def is_first_rank() -> bool:
    """Whether this process is rank 0 of its launch, or the only one."""
    return find_rank() == 0
