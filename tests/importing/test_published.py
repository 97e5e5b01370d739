"""The authors' count files in, the authors' neurons out, by the commands a user types."""

import os
from pathlib import Path

import numpy as np
import pytest

import vxstore
from vxdist.cli import main

RELEASE = Path(
    os.environ.get("VXDIST_REFERENCE")
    or Path(__file__).parents[2] / ".." / "shared" / "data" / "c-voice-release"
)
SIDES = ("support", "conflict")


@pytest.mark.skipif(not RELEASE.is_dir(), reason="the authors' release is not at hand")
@pytest.mark.parametrize("value", ["和谐", "富强", "民主", "爱国"])
def test_the_published_neurons_come_out_of_an_import(
    value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neuron for neuron: a published set has two classes, the sides of one value."""
    torch = pytest.importorskip("torch")
    store = str(tmp_path / "s.zarr")
    files = [str(RELEASE / "counts" / f"{value}-{side}.pt") for side in SIDES]
    options = ("--pattern", f"{value}-{{value}}.pt", "--language", "zh")
    assert (
        main(["import", "lape", *files, *options, "--denominator", "questions", "--store", store])
        == 0
    )
    assert "(neuron, value) exceed 1" in capsys.readouterr().err
    for name, q in (("decision", "0.95"), ("semantic", "0.50")):
        quantiles = ("--reduce.vape.filter_quantile", q, "--reduce.vape.activation_quantile", q)
        rest = ("--reduce.vape.top_fraction", "0.01")
        made = ("--store", store, "--reduce.name", name, "--reduce.selector", "vape")
        assert main(["reduce", *made, *quantiles, *rest]) == 0
        selected = vxstore.open(store).scores(name).selected.sel(language="zh")
        masks = torch.load(
            RELEASE / "masks" / f"activation_mask_{value}_{name}_0.01", weights_only=True
        )
        for side, theirs in zip(SIDES, masks, strict=True):
            ours = selected.sel(value=side).transpose("layer", "neuron").values
            assert sum(map(len, theirs)) > 1000
            assert [np.flatnonzero(layer_N).tolist() for layer_N in ours] == [
                sorted(neurons.tolist()) for neurons in theirs
            ]
