"""Compiled layers count what the model counts, in one code for all layers and batches."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from vxdist.errors import UserError
from vxdist.hooks import compiled
from vxdist.hooks.compiled import CompiledDecoder, Example, check_compiler, is_causal
from vxdist.hooks.counter import Counter
from vxdist.hooks.measures import choose
from vxdist.model.hook_points import find_hook_points
from vxstore.statistics import STATISTICS

CPU = torch.device("cpu")
SHAPES = ((3, 17), (5, 9), (2, 40), (4, 4), (12, 12))
"""Rows and columns; some are those of the model's sizes, or equal."""
ALL = choose(list(STATISTICS))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace and guard the code, but run it as it is, without a compiler."""
    monkeypatch.setattr(compiled, "BACKEND", "eager")


def make_example(rows: int, columns: int, device: torch.device = CPU) -> Example:
    """Random tokens, the last row padded, the first token of each row not counted."""
    generator = torch.Generator().manual_seed(rows * columns)
    ids_BT = torch.randint(3, 400, (rows, columns), generator=generator)
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[-1, columns - columns // 3 :] = 0
    counted_BT = mask_BT.bool().clone()
    counted_BT[:, 0] = False
    return Example(
        token_ids_BT=ids_BT.to(device),
        attention_mask_BT=mask_BT.to(device),
        counted_BT=counted_BT.to(device),
    )


def count_eager(decoder: Any, examples: Sequence[Example]) -> dict[str, Any]:
    """The statistics by the hooks of a model that is not compiled."""
    counter = Counter(find_hook_points(decoder), next(decoder.parameters()).device, ALL)
    with torch.inference_mode():
        for example in examples:
            counter.count(example.counted_BT)
            mask_BT = example.attention_mask_BT
            decoder(input_ids=example.token_ids_BT, attention_mask=mask_BT, use_cache=False)
    counter.remove()
    return dict(counter.take().statistics)


def count_compiled(
    decoder: Any, examples: Sequence[Example], prepared: Sequence[Example]
) -> tuple[dict[str, Any], Counter]:
    """The same of the model compiled for the examples `prepared`, and the counter."""
    counter = Counter(
        find_hook_points(decoder), next(decoder.parameters()).device, ALL, compiled=True
    )
    with torch.inference_mode():
        run = CompiledDecoder(decoder, counter)
        run.prepare(prepared)
        counter.counted.uncompiled = 0
        counters.clear()
        for example in examples:
            counter.count(example.counted_BT)
            run(example.token_ids_BT, example.attention_mask_BT)
    return dict(counter.take().statistics), counter


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "family",
    [
        *("llama", "gpt2"),
        *(
            pytest.param(name, marks=pytest.mark.long)
            for name in ("bloom", "gptj", "opt", "mpt", "gemma2", "phi3", "qwen3", "stablelm")
        ),
    ],
)
def test_one_code_for_all_layers_and_batches(make_model: Callable[[str], Any], family: str) -> None:
    decoder = make_model(family).get_decoder()
    examples = [make_example(*shape) for shape in SHAPES]
    expected = count_eager(decoder, examples)
    counters.clear()
    torch._dynamo.reset()
    found, counter = count_compiled(decoder, examples, examples[:1])
    assert counter.counted.uncompiled == 0  # every layer of every batch ran in compiled code
    assert not counters["frames"]  # and none was compiled again
    for name, found_LN in found.items():
        if name == "active_count":
            np.testing.assert_array_equal(found_LN, expected[name])
        else:
            np.testing.assert_allclose(found_LN, expected[name], rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("quick")
def test_layers_share_their_code(make_model: Callable[[str], Any]) -> None:
    decoder = make_model("llama").get_decoder()
    counter = Counter(find_hook_points(decoder), CPU, compiled=True)
    counters.clear()
    with torch.inference_mode():
        CompiledDecoder(decoder, counter).prepare([make_example(*shape) for shape in SHAPES])
    assert counters["frames"] == {"total": 1, "ok": 1}


@pytest.mark.usefixtures("quick")
def test_a_batch_that_fits_no_code_runs_uncompiled(make_model: Callable[[str], Any]) -> None:
    decoder = make_model("llama").get_decoder()
    single, several = make_example(1, 11), make_example(3, 17)
    expected = count_eager(decoder, [single])
    with pytest.warns(UserWarning, match=r"model\.compile: some batches fit no compiled code"):
        found, counter = count_compiled(decoder, [single], [several])
    assert counter.counted.uncompiled == 3
    np.testing.assert_array_equal(found["active_count"], expected["active_count"])


@pytest.mark.usefixtures("quick")
def test_a_counter_after_another_has_its_own_totals(make_model: Callable[[str], Any]) -> None:
    decoder = make_model("llama").get_decoder()
    example, other = make_example(3, 17), make_example(5, 9)
    expected = count_eager(decoder, [other])
    _, first = count_compiled(decoder, [example], [example])
    first.remove()
    found, _ = count_compiled(decoder, [other], [example])
    np.testing.assert_array_equal(found["active_count"], expected["active_count"])
    assert not first.take().statistics["active_count"].any()


def test_only_a_causal_decoder_does_without_a_mask(make_model: Callable[[str], Any]) -> None:
    decoder = make_model("llama").get_decoder()
    assert is_causal(decoder)
    decoder.layers[1].self_attn.is_causal = False
    assert not is_causal(decoder)


@pytest.mark.usefixtures("quick")
def test_a_decoder_that_is_not_causal_keeps_its_mask(make_model: Callable[[str], Any]) -> None:
    decoder = make_model("llama").get_decoder()
    for layer in decoder.layers:
        layer.self_attn.is_causal = False
    examples = [make_example(3, 17)]
    expected = count_eager(decoder, examples)
    found, counter = count_compiled(decoder, examples, examples)
    assert counter.counted.uncompiled == 0
    np.testing.assert_array_equal(found["active_count"], expected["active_count"])


@pytest.mark.usefixtures("quick")
def test_code_that_counts_otherwise_is_refused(
    make_model: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = make_model("llama").get_decoder()
    forward = type(decoder.layers[0].mlp).forward

    def other(self: Any, x: torch.Tensor) -> torch.Tensor:
        return forward(self, -x if torch.compiler.is_compiling() else x)  # type: ignore[no-any-return]

    monkeypatch.setattr(type(decoder.layers[0].mlp), "forward", other)
    with pytest.raises(UserError, match="the compiled layer 0 counts otherwise than the model"):
        count_compiled(decoder, [], [make_example(3, 17)])


def test_what_torch_cannot_compile_is_an_error(
    make_model: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("no such instruction\nand a long story")

    monkeypatch.setattr(compiled, "BACKEND", fail)
    with pytest.raises(UserError, match=r"could not compile a layer of LlamaModel: .*; use model"):
        count_compiled(make_model("llama").get_decoder(), [], [make_example(3, 17)])
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler that works") as refusal:
        check_compiler("cpu")
    assert "\n" not in str(refusal.value)


def test_a_gpu_needs_a_c_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(UserError, match="needs a C compiler, and there is no gcc or clang here"):
        check_compiler("gpu")
    monkeypatch.setenv("CC", "my-cc")
    check_compiler("gpu")


@pytest.mark.long
@pytest.mark.parametrize("family", ["llama", "gpt2", "gptj", "gemma2", "opt", "phi3", "bloom"])
def test_counts_differ_by_rounding_only(make_model: Callable[[str], Any], family: str) -> None:
    """With the compiler: an activation has another sign only where it is next to zero."""
    compare(make_model(family).get_decoder(), CPU)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_on_a_gpu_too(make_model: Callable[[str], Any], family: str) -> None:
    gpu = torch.device("cuda")
    check_compiler("gpu")
    compare(make_model(family).to(gpu).get_decoder(), gpu)


def compare(decoder: Any, device: torch.device) -> None:
    """Compile the layers and count; in float32, only what is next to zero may change its sign."""
    examples = [make_example(*shape, device) for shape in SHAPES]
    near = 0

    def look(_: Any, __: Any, activation: torch.Tensor) -> None:
        nonlocal near
        near += int((activation.abs() < 1e-5).sum())

    blocks = find_hook_points(decoder).blocks
    handles = [block.activation.register_forward_hook(look) for block in blocks]
    expected = count_eager(decoder, examples)
    for handle in handles:
        handle.remove()
    found, counter = count_compiled(decoder, examples, examples[:1])
    assert counter.counted.uncompiled == 0
    assert np.abs(found["active_count"] - expected["active_count"]).sum() <= near
    np.testing.assert_allclose(
        found["activation_sum"], expected["activation_sum"], rtol=1e-3, atol=1e-3
    )


@pytest.mark.usefixtures("quick")
def test_a_block_that_vxdist_runs_itself_is_counted(make_model: Callable[[str], Any]) -> None:
    """LFM2 has its activation function in its code."""
    decoder = make_model("lfm2").model
    examples = [make_example(*shape) for shape in SHAPES[:3]]
    expected = count_eager(decoder, examples)
    found, _ = count_compiled(decoder, examples, examples)
    np.testing.assert_array_equal(found["active_count"], expected["active_count"])
    assert found["active_count"].any()
