"""The language models of models of images and text, without their towers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForImageTextToText

import vxstore
from vxdist.cli import main
from vxdist.config import ModelConfig
from vxdist.errors import UserError
from vxdist.model.language import build
from vxdist.model.load import describe_model, load_model, load_tokenizer
from vxdist.model.source import find_config, find_model

TEXT = {
    "vocab_size": 512, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "max_position_embeddings": 512, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
}  # fmt: skip
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
TOWER = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14,
}  # fmt: skip
QWEN_TOWER = {
    "depth": 1, "hidden_size": 16, "embed_dim": 16, "intermediate_size": 16, "num_heads": 2,
    "out_hidden_size": 32, "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "gemma3": {"text_config": TEXT, "vision_config": TOWER},
    "internvl": {
        "text_config": {"model_type": "qwen2", **TEXT},
        "vision_config": TOWER | {"image_size": [28, 28], "patch_size": [14, 14]},
    },
    "llava": {
        "text_config": {"model_type": "llama", **TEXT},
        "vision_config": {"model_type": "clip_vision_model", **TOWER},
    },
    "llava_next": {
        "text_config": {"model_type": "mistral", **TEXT},
        "vision_config": {"model_type": "clip_vision_model", **TOWER},
    },
    "llava_onevision": {
        "text_config": {"model_type": "qwen2", **TEXT},
        "vision_config": {"model_type": "siglip_vision_model", **TOWER},
    },
    "mistral3": {
        "text_config": {"model_type": "mistral", **TEXT},
        "vision_config": {"model_type": "pixtral", **TOWER, "head_dim": 8},
    },
    **{
        name: {"text_config": TEXT | {"rope_parameters": ROPE}, "vision_config": QWEN_TOWER}
        for name in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
    },
}
QUICK = ("gemma3", "llava", "qwen2_5_vl", "qwen3_vl")
MANY = [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.long]) for n in CONFIGS]


@pytest.fixture(params=MANY)
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Path]:
    """A small model of images and text with random weights, and its folder."""
    torch.manual_seed(3)
    config = AutoConfig.for_model(request.param, **CONFIGS[request.param])
    model = AutoModelForImageTextToText.from_config(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    return model, folder


def test_of_text_it_computes_what_the_whole_does_without_the_towers(
    whole: tuple[Any, Path], capsys: pytest.CaptureFixture
) -> None:
    model, folder = whole
    settings = ModelConfig(path=str(folder))
    shape = describe_model(find_model(settings))
    assert (shape.num_layers, shape.num_neurons, shape.layout) == (3, 48, "gated")
    loaded = load_model(find_model(settings), settings)
    names = [name for name, _ in loaded.named_parameters()]
    kept = ("language_model", "lm_head", "image_newline")
    assert not [n for n in names if not any(part in n for part in kept)]
    assert len(names) < len([*model.parameters()])
    ids_BT = torch.randint(10, 512, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model(input_ids=ids_BT, use_cache=False).logits
        assert torch.equal(loaded(input_ids=ids_BT, use_cache=False).logits, expected)
    assert capsys.readouterr().err == "", "its towers are not missed"


def test_a_tower_of_timm_needs_no_timm(tmp_path: Path) -> None:
    """Gemma 3n's tower for images is timm's; the language model works without the package."""
    text = TEXT | {
        "intermediate_size": [48] * 3, "hidden_size_per_layer_input": 8, "laurel_rank": 4,
        "vocab_size_per_layer_input": 512, "num_kv_shared_layers": 0,
        "layer_types": ["full_attention"] * 3, "activation_sparsity_pattern": None,
    }  # fmt: skip
    sound = {"hidden_size": 16, "conf_num_hidden_layers": 1, "conf_num_attention_heads": 2}
    config = AutoConfig.for_model("gemma3n", text_config=text, audio_config=sound)
    build(config, own_code=False).save_pretrained(tmp_path)
    settings = ModelConfig(path=str(tmp_path))
    assert describe_model(find_model(settings)).num_neurons == 48
    loaded = load_model(find_model(settings), settings)
    with torch.inference_mode():
        assert loaded(input_ids=torch.tensor([[3, 4, 5]]), use_cache=False).logits.isfinite().all()
    assert not [n for n, _ in loaded.named_parameters() if "tower" in n]


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("instructblip", "pixel_values, qformer_input_ids"),
        ("idefics", "images"),
        ("t5gemma2", "what its encoder reads"),
    ],
)
def test_what_does_not_run_on_text_alone_is_refused(name: str, needed: str, tmp_path: Path) -> None:
    CONFIG_MAPPING[name]().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=f"does not run on text alone, it needs {needed}$"):
        describe_model(find_config(ModelConfig(path=str(tmp_path))))


def test_a_tensor_that_is_missing_is_still_missed(whole: tuple[Any, Path]) -> None:
    from safetensors.torch import load_file, save_file

    file = whole[1] / "model.safetensors"
    weights = load_file(file)
    lost = next(n for n in weights if "layers.1.mlp.up_proj" in n and "vis" not in n)
    save_file({n: w for n, w in weights.items() if n != lost}, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"1 tensor that the checkpoint does not have.*up_proj"):
        describe_model(find_model(ModelConfig(path=str(whole[1]))))


def test_it_is_described_and_located(
    whole: tuple[Any, Path],
    tokenizer: Any,
    run_options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    folder = whole[1]
    tokenizer.save_pretrained(folder)
    assert main(["models", str(folder)]) == 0
    assert "48 per layer, 144 in total" in capsys.readouterr().out
    assert main(["locate", *run_options, "--model.path", str(folder)]) == 0
    root = vxstore.open(str(tmp_path / "run.zarr")).root().load()
    share = root.active_count.sum() / (root.token_count + 0 * root.active_count).sum()
    assert 0.1 < share < 0.9


def test_the_template_may_be_the_processors(
    model_folder: Path, tmp_path: Path, tokenizer: Any, make_model: Callable[[str], Any]
) -> None:
    """Older folders of such models keep it in a file of its own."""
    import copy

    make_model("llama").save_pretrained(tmp_path)
    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    bare.save_pretrained(tmp_path)
    source = find_model(ModelConfig(path=str(tmp_path)))
    assert load_tokenizer(source).chat_template is None
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    assert load_tokenizer(source).chat_template == "{{ messages }}"
