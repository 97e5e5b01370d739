"""Small real models of real architectures, a small tokenizer, and a small corpus."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

VALUES = ("kindness", "candour", "thrift")
LANGUAGES = ("en", "zh")
CONFIGURATIONS: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("data").joinpath("families.json").read_text()
)
QUICK_BLOCKS = (
    *("deepseek_v3", "glm4_moe", "gemma4_text", "granitemoehybrid", "nemotron_h", "qwen2_moe"),
)
SEVERAL_BLOCKS = (
    *QUICK_BLOCKS,
    *("afmoe", "aria_text", "axk1", "axk2", "bailing_hybrid", "beam", "deepseek_v2"),
    *("deepseek_v32", "deepseek_v4", "dots1", "dots3_note", "dots3_note_text", "ernie4_5_moe"),
    *("exaone_moe", "flint", "glm4_moe_lite", "glm_moe_dsa", "granitemoe_swa", "granitemoeshared"),
    *("hunyuan_v1_moe", "hy_v3", "jamba", "kimi_linear", "kolibri1", "laguna", "mimo_v2_flash"),
    *("qwen3_5_moe", "qwen3_5_moe_text", "qwen3_next", "qwen4_exp", "qwen4_exp_text", "solar_open"),
    *("zamba", "zamba2"),
)
"""Families whose layers differ, or have several blocks; those that are not quick are long."""
INLINE = ("gpt_oss", "lfm2", "lfm2_moe", "lfm3", "llama4_text", "minimax_m3_vl_text")
"""Families that vxdist runs in place of their own code; see tests/hooks/test_runners.py."""
FAMILIES = [name for name in CONFIGURATIONS if name not in (*SEVERAL_BLOCKS, *INLINE)]
"""The others, small: three layers of 48 neurons, 512 tokens."""
ONE_EACH = {
    *("bloom", "falcon_h1", "gptj", "mpt", "nemotron", "persimmon", "phi", "phi3"),
    *("qwen3_moe", "recurrent_gemma", "stablelm", "starcoder2", "xglm"),
}
"""A family of each layout."""
COMMON = {
    *("apertus", "gemma3", "gemma4_unified_text", "glm4", "gpt2", "gpt_neox", "llama", "minimax"),
    *("mistral", "mixtral", "olmo2", "olmoe", "opt", "qwen2", "qwen3", "qwen3_5_text", "zaya"),
    *ONE_EACH,
}
"""Families whose models are used most, or that differ most; the others are tested in a soak."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long to search for what chance must find."""
    parser.addoption(
        "--soak", type=int, default=1, metavar="N", help="N times as many kills and damages"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests that are long, and vary another one, unless a soak was asked for."""
    if config.getoption("--soak") > 1:
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="long; part of make soak"))


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> int:
    """How many times as many kills and damages as usual to try."""
    return int(request.config.getoption("--soak"))


@pytest.fixture(scope="session")
def families() -> list[str]:
    """All families."""
    return list(FAMILIES)


def _families(quick: set[str]) -> list[Any]:
    """All families; those that are not quick are long."""
    return [
        pytest.param(name, marks=[] if name in quick else [pytest.mark.long]) for name in FAMILIES
    ]


@pytest.fixture(
    params=[
        pytest.param(name, marks=[] if name in QUICK_BLOCKS else [pytest.mark.long])
        for name in SEVERAL_BLOCKS
    ]
)
def blocks_family(request: pytest.FixtureRequest) -> str:
    """A family of several blocks in turn; in a soak every one."""
    return str(request.param)


@pytest.fixture(scope="session", params=_families(COMMON))
def family(request: pytest.FixtureRequest) -> str:
    """The most common families in turn; in a soak every one."""
    return str(request.param)


@pytest.fixture(scope="session", params=_families(ONE_EACH))
def layout_family(request: pytest.FixtureRequest) -> str:
    """One family of each layout in turn; in a soak every one."""
    return str(request.param)


@pytest.fixture(scope="session")
def make_model() -> Callable[[str], Any]:
    """A small model of a family with random weights, always the same ones."""

    def make(name: str) -> Any:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        torch.manual_seed(7)
        config = AutoConfig.for_model(name, **CONFIGURATIONS[name])
        model = AutoModelForCausalLM.from_config(config).eval()
        for parameter in model.parameters():
            # Norms and biases stay as they are; wider weights make every layer matter.
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.2)
        for module in model.modules():
            if hasattr(module, "tid2eid"):  # DeepSeek-V4: the experts of each token id
                token_V1 = torch.arange(len(module.tid2eid))[:, None]
                module.tid2eid.copy_((token_V1 + torch.arange(module.top_k)) % module.num_experts)
        return model.requires_grad_(False)

    return make


def _stories() -> Iterator[dict[str, str]]:
    texts = {
        "en": (
            "At the {v} market I found a purse, number {n}, and nobody saw me take it.",
            "I asked the seller who had lost it, {s}.",
            "Because {v} is what I was taught at home, and the purse was heavy that day.",
        ),
        "zh": (
            "第{n}天,我在集市上捡到一个钱包,没有人看见我拿起它。",
            "我问了卖菜的人是谁丢的,{s}。",
            "因为家里从小教我要有{v},那天的钱包很沉,我拿着心里不安。",
        ),
    }
    for value in VALUES:
        for n in range(4):
            for language in LANGUAGES:
                for stance in ("aligned", "violating"):
                    dilemma, choice, rationale = (
                        text.format(v=" ".join([value] * (3 * n + 1)), n=n, s=stance)
                        for text in texts[language]
                    )
                    yield {
                        "id": f"{value}-{n}-{language}-{stance}",
                        "pair": f"{value}-{n}",
                        "value": value,
                        "language": language,
                        "stance": stance,
                        "dilemma": dilemma,
                        "choice": choice,
                        "rationale": rationale,
                    }


def _dilemmas() -> Iterator[dict[str, str]]:
    for value in VALUES:
        for n in range(3):
            for language, options in (("en", ("keep", "return")), ("zh", ("留下", "交还"))):
                yield {
                    "id": f"{value}-e{n}-{language}",
                    "pair": f"{value}-e{n}",
                    "value": value,
                    "language": language,
                    "dilemma": f"{value} {n}: {options[0] * (n + 3)}?",
                    "aligned": f"{options[1]} {n}",
                    "violating": f"{options[0]} {n}",
                }


def _write_lines(file: Path, rows: Iterable[dict[str, str]]) -> None:
    file.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )


@pytest.fixture
def write_lines() -> Callable[[Path, Iterable[dict[str, str]]], None]:
    """Write rows as JSON lines."""
    return _write_lines


@pytest.fixture
def stories() -> list[dict[str, str]]:
    """Rows of the small corpus's activation split."""
    return list(_stories())


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three values, two languages, both stances: 48 stories and 18 dilemmas."""
    folder = tmp_path_factory.mktemp("corpus")
    _write_lines(folder / "activation.jsonl", _stories())
    _write_lines(folder / "evaluation.jsonl", _dilemmas())
    return folder


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A byte-level tokenizer of 512 tokens that begins every text with <s>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([row["rationale"] for row in _stories()], trainer)
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


@pytest.fixture(scope="session")
def prompter(tokenizer: Any) -> Any:
    """Prompts of the tokenizer with the default settings."""
    from vxdist.asking.prompting import Prompter, Today
    from vxdist.config import EvaluateConfig

    return Prompter(tokenizer, EvaluateConfig(), Today(date=date(2026, 1, 31), given=False))


@pytest.fixture
def killed_after(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[int], AbstractContextManager[None]]:
    """Within, evaluate ends once so many conditions are written, as a kill would end it."""
    from vxdist.errors import Stopped
    from vxstore.evaluation import ConditionRecorder

    @contextmanager
    def killing(conditions: int) -> Iterator[None]:
        real, writes = ConditionRecorder.write, []

        def write(self: Any, condition: int, *data: Any) -> None:
            writes.append(condition)
            if len(writes) > conditions:
                raise Stopped("killed")
            real(self, condition, *data)

        with monkeypatch.context() as patch:
            patch.setattr(ConditionRecorder, "write", write)
            yield

    return killing


@pytest.fixture(scope="session")
def model_folder(
    tmp_path_factory: pytest.TempPathFactory, make_model: Callable[[str], Any], tokenizer: Any
) -> Path:
    """A small Llama with its tokenizer, saved."""
    folder = tmp_path_factory.mktemp("model")
    make_model("llama").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def long_model_folder(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """The same for longer texts: its tokenizer knows no German, and spells it letter by letter."""
    folder = tmp_path_factory.mktemp("long") / "model"
    shutil.copytree(model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 2048}))
    return folder


@pytest.fixture(scope="session")
def slow_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A Llama large enough that a run can be killed before it ends."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    folder = tmp_path_factory.mktemp("slow")
    torch.manual_seed(7)
    large = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8}
    config = LlamaConfig(**{**CONFIGURATIONS["llama"], **large, "num_key_value_heads": 4})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def run_options(model_folder: Path, corpus_folder: Path, tmp_path: Path) -> list[str]:
    """Options of a complete small run; its store is tmp_path/run.zarr."""
    return [
        "--model.path",
        str(model_folder),
        "--corpus.path",
        str(corpus_folder),
        "--locate.parts_per_group",
        "2",
        "--locate.tokens_per_batch",
        "256",
        "--reduce.selector",
        "vape",  # the corpus has too few dilemmas for tests
        "--reduce.vape.top_fraction",
        "0.1",
        "--reduce.vape.filter_quantile",
        "0.5",
        "--reduce.vape.activation_quantile",
        "0.5",
        "--evaluate.controls",
        "2",
        "--evaluate.tokens_per_batch",
        "256",
        "--evaluate.least_mass",
        "0",  # weights are random: the letters are as likely as any other token
        "--trainer.threads",
        "1",
        "--store",
        str(tmp_path / "run.zarr"),
    ]


CLAIMS = [
    {"level": 1, "name": "differs", "array": "q_value"},
    {"level": 2, "name": "stands out", "array": "q_beyond"},
    {"level": 3, "name": "exclusive", "array": "q_exclusive"},
    {"level": 4, "name": "stance", "array": "q_stance"},
]


def _null_of(language: str, selector: str | None) -> dict[str, Any]:
    """What shuffled labels of one language gave: 200 shuffles; level 3 does not hold its level."""
    level = {"any_rate": 0.09, "any_rate_se": 0.02, "mean_selected": 0.25, "most_selected": 11}
    edges = [-4.0, -2.0, 0.0, 2.0, 4.0]
    return {
        "shuffles": 200,
        **{key: level[key] for key in ("any_rate", "any_rate_se", "mean_selected")},
        "levels": {
            "1": {**level, "calibrated": True},
            "2": {**level, "any_rate": 0.0, "mean_selected": 0.0, "most_selected": 0,
                  "calibrated": True},
            "3": {**level, "any_rate": 0.455, "most_selected": 148, "calibrated": False},
        },
        "topic": {
            "labels": ["school", "hospital"],
            "clusters": 173,
            "discoveries": 33414 if language == "en" else 12,
            "value_discoveries_same_clusters": 14142,
            "excess_at_999": 0.92,
        },
        "vape": {
            "listed": 461, "assignments": 2265, "values_per_neuron": 4.9, "below_cut_mean": 80.4,
            "below_cut_95": [53.0, 111.0], "false_share": 0.174, "noise_overlap": 0.404,
            "shuffled_jaccard": 0.546, "split_jaccard": 0.554, "split_jaccard_assignments": 0.338,
            "assignments_supported": 556,
        } if selector == "vape" else {},
        "stability": {"observed": 0.338, "shuffled": 0.352},
        "length_F": 7.8,
        "length_p": 1e-11,
        "histograms": {
            "t": {"edges": edges, "observed": [5, 40, 60, 39], "shuffled": [1.5, 70.5, 70.0, 2.0]},
            "entropy": {"edges": [0.0, 0.5, 1.0], "observed": [20, 3], "shuffled": [22.5, 0.5]},
        },
    }  # fmt: skip


@pytest.fixture(scope="session")
def add_tests() -> Callable[..., dict[str, Any]]:
    """Add to any score what tests of it write: arrays, `tests` and `null`; returns the arrays.

    The numbers are random. Neuron 0 of layer 0 has claim 4 for the first value in every language,
    neuron 1 of it has claims 1 and 4, nobody has claim 2, and claim 4 of `pooled` is not tested.
    `attrs` replaces attributes.
    """

    def add(
        path: str, name: str = "vape", *, seed: int = 0, attrs: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        import numpy as np

        import vxstore
        from vxstore.groups import write_group
        from vxstore.schema import ArraySpec

        opened = vxstore.open(path).scores(name).load()
        kinds = {
            str(n): ArraySpec(
                dims=tuple(map(str, of.dims)), dtype=str(of.dtype), units="1", long_name=str(n)
            )
            for n, of in opened.data_vars.items()
        }
        data = {str(n): of.values for n, of in opened.data_vars.items()}
        labels = {
            dim: [str(label) for label in opened[dim].values] for dim in ("value", "language")
        }
        shape = opened.selected.transpose("layer", "neuron", "value", "language").shape
        rng = np.random.default_rng(seed)
        added = {n: rng.uniform(0.05, 1, shape) for n in ("q_value", "q_exclusive", "q_stance")}
        added["q_beyond"] = np.ones(shape)
        added["q_value"][0, 0, 0] = 0.9
        added["q_value"][0, 1, 0] = added["q_stance"][0, :2, 0] = 0.01
        if "pooled" in labels["language"]:
            added["q_stance"][..., labels["language"].index("pooled")] = np.nan
        added |= {"p_value": added["q_value"] / 4, "t_value": rng.normal(size=shape)}
        added |= {n: rng.uniform(size=shape) for n in ("auc", "stability")}
        added["q_omnibus"] = rng.uniform(size=(*shape[:2], shape[3]))
        added["rival"] = rng.integers(-1, shape[2], (*shape[:2], shape[3]))
        by_value = ("layer", "neuron", "value", "language")
        by_language = ("layer", "neuron", "language")
        for n, of in added.items():
            dtype = "int32" if n == "rival" else "float32"
            kinds[n] = ArraySpec(
                dims=by_value if of.ndim == 4 else by_language, dtype=dtype, units="1", long_name=n
            )
            added[n] = data[n] = of.astype(dtype)
        known = {k: v for k, v in opened.attrs.items() if k not in ("complete", "coordinates")}
        selector = known.get("selector", None if "ranked_by" in known else "vape")
        found = {
            language: {
                str(claim["level"]): {
                    "assignments": int((of := added[str(claim["array"])][..., g] <= 0.1).sum()),
                    "neurons": int(of.any(axis=2).sum()),
                }
                for claim in CLAIMS
                if not (language == "pooled" and claim["level"] == 4)
            }
            for g, language in enumerate(labels["language"])
        }
        tests = {
            language: {
                "untested": None,
                "clusters": dict.fromkeys(labels["value"], 24),
                "degrees": 286,
                "absent": {"q_stance": "fewer than 6 clusters of both stances"}
                if language == "pooled"
                else {},
                "found": of,
                "z_sd": {value: 1.25 + v / 4 for v, value in enumerate(labels["value"])},
                "z_sd_stance": dict.fromkeys(labels["value"], 1.01),
                "length": {"F": 7.8, "p": 1e-11},
            }
            for language, of in found.items()
        }
        known |= {
            "claims": CLAIMS,
            "fdr": 0.1,
            "testing": {"fdr": 0.1, "shuffles": 200, "halves": 10, "adjust": [], "seed": 0},
            "tests": tests,
            "null": {language: _null_of(language, selector) for language in labels["language"]},
        }
        dims = {"layer": range(shape[0]), "neuron": range(shape[1]), **labels}
        write_group(path, f"scores/{name}", kinds, data, dims, {**known, **(attrs or {})})
        return added

    return add


@pytest.fixture(scope="session")
def add_clusters() -> Callable[..., None]:
    """Give the parts of a complete store numbers of dilemma clusters, within their values."""

    def add(path: str, cluster: Iterable[int]) -> None:
        from vxstore.io import arrays
        from vxstore.io.metadata import commit
        from vxstore.schema import ArraySpec

        group = arrays.open_group(path, "record", mode="r+")
        spec = ArraySpec(dims=("part",), dtype="int32", units="1", long_name="dilemma cluster")
        numbers = list(cluster)
        arrays.create_array(group, "cluster", spec, (len(numbers),), chunks=(1,))[...] = numbers
        commit(path, {})

    return add
