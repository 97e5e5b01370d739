"""What vxdist does with a small random model of one type, step by step.

B: text, T: token, L: layer, N: neuron.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from covered.plain import Recorder, recompute, zero_column
from covered.shrink import shrink
from covered.types import kind_of
from vxdist.config import ModelConfig
from vxdist.errors import UserError
from vxdist.hooks.ablation import Ablation
from vxdist.hooks.counter import Counter
from vxdist.hooks.selftest import ready_hook_points
from vxdist.model.decoder import find_decoder, find_layers
from vxdist.model.hook_points import Block, HookPoints
from vxdist.model.language import build as build_language
from vxdist.model.load import describe_model, load_model
from vxdist.model.source import find_model

CPU = torch.device("cpu")
BATCHES, TEXTS, LENGTH = 3, 2, 11
NEAR = 1e-5
"""What goes into an activation function this close to zero may be on either side, by the order of a
sum."""
STEPS = ("built", "accepted", "self_test", "unchanged", "counts", "mask")
"""In order; a type is proven if all hold."""


class Fault(Exception):
    """What does not hold."""


def prove(name: str) -> dict[str, Any]:
    """Whether each step holds for a model type, up to the first that does not, and why not."""
    row: dict[str, Any] = {"type": name, "kind": kind_of(name), **dict.fromkeys(STEPS, False)}
    with tempfile.TemporaryDirectory() as folder:
        try:
            _walk(name, Path(folder), row)
        except (UserError, Fault) as error:
            row["why"] = str(error).replace(folder, "it")
        except Exception as error:
            row["why"] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    row["proven"] = all(row[step] for step in STEPS)
    return row


@torch.inference_mode()
def _walk(name: str, folder: Path, row: dict[str, Any]) -> None:
    build(name).save_pretrained(folder)
    row["built"] = True
    settings = ModelConfig(path=str(folder))
    shape = describe_model(find_model(settings))
    row["accepted"] = True
    row |= {key: getattr(shape, key) for key in ("layout", "num_layers", "num_neurons")}
    row |= {key: getattr(shape, key) for key in ("num_experts", "activation")}
    model = load_model(find_model(settings), settings)
    with torch.inference_mode(False):
        points = ready_hook_points(model)
    row["self_test"] = True
    batches = _batches(int(model.get_input_embeddings().weight.shape[0]))
    plain = [_logits(model, batch_BT) for batch_BT in batches]
    if not all(of.isfinite().all() for of in plain):
        raise Fault("the random model's logits are not finite")
    row["unsure"] = _check_counts(model, points, batches, plain, row)
    _check_mask(model, points, batches[0], plain[0])
    row["mask"] = True


def build(name: str) -> Any:
    """A small random model of a type, whose every layer matters."""
    config = shrink(name)
    torch.manual_seed(7)
    whole = type(config) in AutoModelForImageTextToText._model_mapping
    try:
        auto = AutoModelForImageTextToText if whole else AutoModelForCausalLM
        model = auto.from_config(config)
    except ImportError:  # of a package for a tower, which vxdist does without
        model = build_language(config, own_code=False)
    for parameter in model.parameters():
        if parameter.dim() > 1:  # norms and biases stay as they are
            nn.init.normal_(parameter, std=0.2)
    for module in model.modules():
        if hasattr(module, "tid2eid"):  # experts of each token id, which start all the same
            token_V1 = torch.arange(len(module.tid2eid))[:, None]
            module.tid2eid.copy_((token_V1 + torch.arange(module.top_k)) % module.num_experts)
    return model.eval()


def _batches(vocabulary: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    size = (TEXTS, LENGTH)
    return [torch.randint(10, vocabulary, size, generator=random) for _ in range(BATCHES)]


def _logits(model: Any, batch_BT: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = model(input_ids=batch_BT, use_cache=False).logits
    return found.clone()


def _check_counts(
    model: Any,
    points: HookPoints,
    batches: list[torch.Tensor],
    plain: list[torch.Tensor],
    row: dict[str, Any],
) -> int:
    """Count batches with a quarter of the tokens left out; returns how many counts are unsure."""
    counted_BT = (torch.arange(TEXTS * LENGTH) % 4 != 0).reshape(TEXTS, LENGTH)
    with _counting(points) as counter:
        for batch_BT, before in zip(batches, plain, strict=True):
            counter.count(counted_BT)
            if not torch.equal(_logits(model, batch_BT), before):
                raise Fault("counting changes the logits")
        active_LN = torch.from_numpy(counter.take().statistics["active_count"])
    row["unchanged"] = True
    expected_LN, unsure_LN = torch.zeros_like(active_LN), torch.zeros_like(active_LN)
    for batch_BT in batches:
        plain_2LTN = _recompute(model, points, batch_BT)[:, :, counted_BT.reshape(-1)]
        expected_LN += (plain_2LTN[1] > 0).sum(1)
        unsure_LN += (plain_2LTN[0].abs() < NEAR).sum(1)
    differ = int(((active_LN - expected_LN).abs() > unsure_LN).sum())
    if differ or not active_LN.any():
        raise Fault(f"{differ} of {active_LN.numel()} counts differ from a plain recomputation")
    row["counts"] = True
    return int((unsure_LN > 0).sum())


@contextmanager
def _counting(points: HookPoints) -> Iterator[Counter]:
    counter = Counter(points, CPU)
    try:
        yield counter
    finally:
        counter.remove()


def _recompute(model: Any, points: HookPoints, batch_BT: torch.Tensor) -> torch.Tensor:
    """Into the activation functions, and out of them (2, L, T, N)."""
    layers = find_layers(find_decoder(model))
    assert layers is not None
    recorder = Recorder(layers, points)
    _logits(model, batch_BT)
    recorder.remove()
    if len(recorder.reads) != len(points.blocks):
        raise Fault(f"{len(recorder.reads)} blocks ran, of {len(points.blocks)}")
    found_2LTN = torch.zeros(2, points.num_layers, batch_BT.numel(), points.num_neurons)
    found_2LTN[0] = -torch.inf  # of neurons that do not exist
    for number, block in enumerate(points.blocks):
        plain_2TN = torch.stack(recompute(layers[block.layer], block, recorder.reads[number]))
        found_2LTN[:, block.layer, :, block.all_neurons] = plain_2TN
    return found_2LTN


def _reads_like(block: Block, points: HookPoints, layers: Sequence[int]) -> bool:
    """Whether a block has the down projection of one in these layers (Zamba shares them)."""
    weights = {id(p) for n in layers for of in points.of_layer(n) for p in of.output.parameters()}
    return bool(weights & {id(p) for p in block.output.parameters()})


def _check_mask(
    model: Any, points: HookPoints, batch_BT: torch.Tensor, plain_BTV: torch.Tensor
) -> None:
    """Law 5: a masked neuron is a zero column of the down projection."""
    exists_LN = points.exists()
    layers = [points.blocks[0].layer, points.blocks[-1].layer]
    layers += [of.layer for of in points.blocks if _reads_like(of, points, layers)]
    neurons = {layer: np.flatnonzero(exists_LN[layer])[::3].tolist() for layer in layers}
    mask = Ablation(points, CPU)
    mask.ablate(neurons)
    masked_BTV = _logits(model, batch_BT)
    mask.remove()
    for layer, numbers in neurons.items():
        zero_column(points, layer, numbers)
    cut_BTV = _logits(model, batch_BT)
    if torch.allclose(plain_BTV, masked_BTV, atol=1e-4):
        raise Fault("masking a third of the neurons of two layers changes nothing")
    error = float((masked_BTV - cut_BTV).abs().max())
    if error > 1e-3 * max(1.0, float(plain_BTV.abs().max())):
        raise Fault(f"masked logits are {error:.1e} from those of zeroed columns")
