"""`vxdist.ablate`: neurons of a model in memory, within a block and never after it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vxdist
from vxdist.errors import UserError
from vxdist.hooks.ablation import Ablation
from vxdist.hooks.interventions import Affine
from vxdist.model.hook_points import find_hook_points

TOKENS_BT = torch.randint(3, 512, (2, 9), generator=torch.Generator().manual_seed(3))
CUT = {0: [1, 7], 2: [30]}


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=TOKENS_BT, use_cache=False).logits
    return found


def count_hooks(model: Any) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def by_hooks(model: Any, affine: Affine | None = None) -> torch.Tensor:
    ablation = Ablation(find_hook_points(model.get_decoder()), torch.device("cpu"))
    ablation.ablate({layer: np.array(neurons) for layer, neurons in CUT.items()}, affine)
    found = logits(model)
    ablation.remove()
    return found


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "bloom", "gemma3"])
def test_the_block_ablates_and_leaves_nothing(make_model: Callable[[str], Any], name: str) -> None:
    model = make_model(name)
    intact, expected = logits(model), by_hooks(model)
    mask_LN = np.zeros((3, 48), dtype=bool)
    for layer, neurons in CUT.items():
        mask_LN[layer, neurons] = True
    before = count_hooks(model)
    for mask in (mask_LN, torch.as_tensor(mask_LN), CUT):
        with vxdist.ablate(model, mask) as same:
            assert same is model
            assert torch.equal(logits(model), expected)
        assert torch.equal(logits(model), intact)
        assert count_hooks(model) == before
    assert not torch.equal(expected, intact)
    with vxdist.ablate(model.get_decoder(), mask_LN):
        assert torch.equal(logits(model), expected)


@pytest.mark.parametrize("name", ["mixtral", "olmoe", "qwen3_moe"])
@pytest.mark.parametrize("way", ["eager", "grouped_mm", "batched_mm"])
def test_experts_run_their_own_way_after_the_block(
    make_model: Callable[[str], Any], name: str, way: str
) -> None:
    model = make_model(name)
    expected = by_hooks(model)
    model.set_experts_implementation(way)
    intact = logits(model)
    with vxdist.ablate(model, CUT):
        assert torch.equal(logits(model), expected)
    assert model.config._experts_implementation == way
    assert torch.equal(logits(model), intact)
    assert not any("forward" in vars(module) for module in model.modules())


def test_an_exception_takes_the_hooks_off(make_model: Callable[[str], Any]) -> None:
    model = make_model("mixtral")
    before = count_hooks(model)
    within = []

    def fail() -> None:
        within.append(count_hooks(model))
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), vxdist.ablate(model, CUT):
        fail()
    assert within[0] > before
    assert count_hooks(model) == before
    with vxdist.ablate(model, CUT):  # and the model can be ablated again
        pass


def test_blocks_of_one_model_are_not_nested(make_model: Callable[[str], Any]) -> None:
    model, other = make_model("llama"), make_model("llama")
    with vxdist.ablate(model, CUT):
        expected, hooks = logits(model), count_hooks(model)
        with pytest.raises(UserError, match="are ablated already"), vxdist.ablate(model, {1: [3]}):
            pass
        assert count_hooks(model) == hooks
        assert torch.equal(logits(model), expected)
        with vxdist.ablate(other, {1: [3]}):
            assert not torch.equal(logits(other), expected)


def test_any_map(make_model: Callable[[str], Any]) -> None:
    model, rng = make_model("llama"), np.random.default_rng(1)
    affine = Affine(
        scale_LN=rng.normal(size=(3, 48)).astype(np.float32),
        shift_LN=rng.normal(size=(3, 48)).astype(np.float32),
    )
    with vxdist.ablate(model, CUT, intervention=affine):
        found = logits(model)
    assert torch.equal(found, by_hooks(model, affine))


def test_training_goes_on_as_it_was(make_model: Callable[[str], Any]) -> None:
    model = make_model("gpt2").train()
    model.transformer.h[0].eval()
    before = [module.training for module in model.modules()]
    with vxdist.ablate(model, CUT):
        assert [module.training for module in model.modules()] == before


def test_the_mean_comes_from_a_store(
    run_options: list[str], model_folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    import vxstore
    from vxdist.hooks.interventions.mean import Mean
    from vxdist.hooks.recorded import read_recorded

    settings = dict(zip([o[2:] for o in run_options[::2]], run_options[1::2], strict=True))
    store = vxdist.locate(vxdist.load_config(None, settings))
    model = AutoModelForCausalLM.from_pretrained(model_folder).eval()
    affine = Mean().affine(read_recorded(store), "kindness", "en")
    expected = by_hooks(model, affine)
    named: dict[str, Any] = {"value": "kindness", "language": "en"}
    for given in (store, str(tmp_path / "run.zarr")):
        with vxdist.ablate(model, CUT, intervention="mean", store=given, **named):
            assert torch.equal(logits(model), expected)
    with vxdist.ablate(model, CUT, intervention=Mean(), store=store, **named):
        assert torch.equal(logits(model), expected)
    assert not torch.equal(expected, by_hooks(model))
    with (
        pytest.raises(vxstore.UserError, match="give store, value and language"),
        vxdist.ablate(model, CUT, intervention="mean"),
    ):
        pass


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        ({3: [0]}, "found layer 3, expected 0 to 2"),
        ({0: [48]}, "layer 0: found neuron 48, expected 0 to 47"),
        (np.zeros((3, 47), dtype=bool), r"bool of shape \(3, 47\), expected bool of"),
        (np.zeros((3, 48)), "the mask is float64"),
        ("x.mask.json", "x.mask.json is a mask file; give value and language too"),
    ],
)
def test_masks_of_other_models_are_refused(
    make_model: Callable[[str], Any], mask: Any, says: str
) -> None:
    model = make_model("llama")
    with pytest.raises(UserError, match=says), vxdist.ablate(model, mask):
        pass
    assert count_hooks(model) == 0
    with pytest.raises(UserError, match="Linear has no decoder"):
        vxdist.ablate(torch.nn.Linear(2, 2), mask).__enter__()
    with pytest.raises(UserError, match=r"vxdist.ablate: intervention: found 'no'"):
        vxdist.ablate(model, CUT, intervention="no").__enter__()
