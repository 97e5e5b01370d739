"""What zero3 refuses before anything is loaded, and how it configures DeepSpeed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.model.packing import write_packed
from vxdist.cli import main
from vxdist.config import TrainerConfig
from vxdist.errors import UserError
from vxdist.runtime import zero3
from vxdist.runtime.zero3 import SWAP_BUFFERS, check_zero3, fit_settings, zero3_settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "ddp", "offload": "cpu"}, "trainer.offload: cpu needs sharded weights"),
        ({"strategy": "auto", "shard_group": 2}, "trainer.shard_group: 2 needs sharded weights"),
        ({"shard_group": 3}, "trainer.shard_group: 3 must be 2 or more and divide the 4 ranks"),
        ({"shard_group": 1}, "for a full copy on every rank use trainer.strategy: ddp"),
        ({"offload": "nvme"}, "trainer.offload: nvme needs trainer.offload_path"),
        (
            {"offload": "nvme", "offload_path": "/none"},
            "offload_path: /none is not a writable folder",
        ),
        (
            {"offload": "nvme", "offload_path": ".", "shard_group": 2},
            "trainer.shard_group: with trainer.offload: nvme",
        ),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    config = TrainerConfig(**{"strategy": "zero3", **settings})
    with pytest.raises(UserError) as refusal:
        check_zero3(config, devices=4)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_groups_that_can_be() -> None:
    for group, in_group in ((2, 2), (4, None)):
        config = TrainerConfig(strategy="zero3", shard_group=group)
        check_zero3(config, devices=4)
        zero = zero3_settings(config, "bfloat16", world_size=4)["zero_optimization"]
        assert zero.get("zero_hpz_partition_size") == in_group  # all ranks of one: nothing to keep


def test_nvme_names_what_to_install(tmp_path: Path) -> None:
    """Where libaio is missing; where it is there, nothing is refused."""
    config = TrainerConfig(strategy="zero3", offload="nvme", offload_path=str(tmp_path))
    if zero3._has_async_io():
        check_zero3(config, devices=2)
        return
    with pytest.raises(UserError, match=r"install libaio with its headers .*offload: cpu"):
        check_zero3(config, devices=2)


def test_settings_fit_the_model(make_model: Callable[[str], Any], tmp_path: Path) -> None:
    """By hand for the small Llama: a layer, its largest weight, and its norms."""
    model = make_model("llama")
    settings = zero3_settings(
        TrainerConfig(strategy="zero3", offload="nvme", offload_path=str(tmp_path)),
        "float16",
        world_size=3,
    )
    fit_settings(settings, model, world_size=3)
    zero = settings["zero_optimization"]
    layer = sum(p.numel() for p in model.model.layers[0].parameters())
    assert zero["stage3_prefetch_bucket_size"] == layer
    assert zero["stage3_max_live_parameters"] == 2 * layer
    assert zero["stage3_param_persistence_threshold"] == model.config.hidden_size
    largest = model.config.vocab_size * model.config.hidden_size
    offload = zero["offload_param"]
    assert (offload["buffer_count"], offload["buffer_size"]) == (SWAP_BUFFERS, -(-largest // 3))
    assert Path(offload["nvme_path"]).parent == tmp_path
    assert settings["fp16"]["enabled"]
    assert not settings["bf16"]["enabled"]


def test_device_map(run_options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    zero3_too = ["--trainer.strategy", "zero3", "--model.device_map", "auto"]
    assert main(["locate", *run_options, *zero3_too]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "vxdist places the model itself" in line


def test_packed_weights(
    run_options: list[str], tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_packed(model_folder, tmp_path / "packed", "fp8 in blocks")
    options = [*run_options, "--model.path", str(tmp_path / "packed")]
    for command in ("locate", "estimate"):
        assert main([command, *options, "--trainer.strategy", "zero3"]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "has packed weights (fp8), which trainer.strategy: zero3 cannot shard" in line
    assert not (tmp_path / "run.zarr").exists()
