"""Estimates of the models whose configurations are in docs/models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def estimate() -> Callable[..., Any]:
    """An estimate of a model in docs/models, on GPUs, with settings as on the command line."""

    def make(model: str, settings: tuple[str, ...] = (), **machine: Any) -> Any:
        from vxdist.estimate.assumptions import Assumptions
        from vxdist.estimate.estimate import make_estimate
        from vxdist.estimate.machine import MachineOptions, find_machine
        from vxdist.estimate.texts import CorpusSize
        from vxdist.settings import parse

        options = ["--model.path", str(ROOT / "docs" / "models" / model), "--store", "none"]
        options += ["--model.dtype", "bfloat16", "--trainer.accelerator", "gpu", *settings]
        config, assume = parse("estimate", options), Assumptions()
        machine_options = MachineOptions(**{"gpus": 16, "gpu_memory": "80GB"} | machine)
        return make_estimate(
            config, find_machine(config.trainer, machine_options, assume), CorpusSize(), assume
        )

    return make
