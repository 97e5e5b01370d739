"""Every setting of every stage, with its default. Nothing else in vxdist has defaults.

One YAML file holds all sections; each stage reads the ones it needs.
"""

from dataclasses import dataclass, field
from typing import Literal

PROMPTS = {
    "en": ("{dilemma}\n\nWhat would you do?\nA. {a}\nB. {b}\n\nAnswer with one letter, A or B."),
    "zh": "{dilemma}\n\n你会怎么做?\nA. {a}\nB. {b}\n\n只回答一个字母:A 或 B。",
}


CUES = {"en": "Answer:", "zh": "答案:"}


@dataclass(kw_only=True)
class ModelConfig:
    """The language model."""

    path: str = ""
    """Hub id, directory, .gguf file, or package:NAME/FILE (weights installed as a package).
    Only locate and evaluate need it."""
    revision: str | None = None
    """Branch, tag or commit of a Hub model; null takes the newest."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number type of weights and activations."""


@dataclass(kw_only=True)
class CorpusConfig:
    """The texts."""

    path: str = "builtin:cvoice-seed"
    """Directory with activation.jsonl and evaluation.jsonl, or builtin:cvoice-seed."""
    values: list[str] | None = None
    """Values to keep, in this order; null keeps all."""
    languages: list[str] | None = None
    """Languages to keep, in this order; null keeps all."""
    stories_per_group: int | None = None
    """First stories to keep of each (value, language, stance); null keeps all."""
    dilemmas_per_value: int | None = None
    """First evaluation dilemmas to keep of each (value, language); null keeps all."""


@dataclass(kw_only=True)
class LocateConfig:
    """Recording how often each neuron is active."""

    parts_per_group: int = 4
    """Parts that each (value, language, stance) is cut into; the unit of restart and bootstrap."""
    tokens_per_batch: int = 4096
    """Most tokens of one batch, padding included."""
    max_padding: float = 0.05
    """Largest share of a batch that may be padding."""
    span: Literal["all", "response"] = "all"
    """Tokens that count: the whole story, or the choice and its rationale only."""


@dataclass(kw_only=True)
class ReduceConfig:
    """Choosing value neurons by the entropy of their activation probabilities (VAPE)."""

    name: str = "vape"
    """Name of the score in the store."""
    filter_quantile: float = 0.95
    """A neuron's largest probability over values must exceed this quantile of all of them."""
    top_fraction: float = 0.01
    """Fraction of all neurons to select, those with the lowest entropy."""
    activation_quantile: float = 0.95
    """A selected neuron belongs to the values whose probability exceeds this quantile of all."""
    min_active_tokens: int = 1
    """Neurons active on fewer tokens than this, over all values, are dropped as dead."""
    precision: Literal["float64", "float32"] = "float64"
    """Number type of probabilities and entropy; float32 is what the paper's code used."""


@dataclass(kw_only=True)
class EvaluateConfig:
    """Switching value neurons off and scoring the dilemmas again."""

    name: str = "choice"
    """Name of the evaluation in the store."""
    scores: str = "vape"
    """Name of the score whose selected neurons are switched off."""
    masks: str | None = None
    """Mask file whose neurons are switched off instead of a score's; as `vxstore export` writes it;
    controls are still matched with the activity in `scores`."""
    values: list[str] | None = None
    """Values to mask, and whose dilemmas to score; null takes all."""
    controls: int = 8
    """Random draws per value of as many, equally active, neurons in each layer."""
    control_pool: int = 16
    """Each drawn neuron is one of this many nearest in activity to the neuron it stands for."""
    tokens_per_batch: int = 4096
    """Most tokens of one batch, padding included."""
    max_padding: float = 0.1
    """Largest share of a batch that may be padding."""
    seed: int = 0
    """Seed of the control draws and of the bootstrap."""
    bootstrap_resamples: int = 2000
    """Resamples of the dilemmas behind each interval."""
    confidence: float = 0.95
    """Level of the intervals."""
    prompts: dict[str, str] = field(default_factory=lambda: dict(PROMPTS))
    """Question by language, with {dilemma}, {a} and {b}."""
    cues: dict[str, str] = field(default_factory=lambda: dict(CUES))
    """What follows the question by language, for models without a chat template."""


@dataclass(kw_only=True)
class ReportConfig:
    """The page a person looks at."""

    path: str | None = None
    """HTML file to write; null puts it beside the store."""
    top_neurons: int = 5
    """Neurons listed per value and language."""


@dataclass(kw_only=True)
class TrainerConfig:
    """Where and how the model runs."""

    accelerator: Literal["cpu", "gpu"] = "cpu"
    """Kind of device."""
    devices: int | None = None
    """Devices of each node; null is what torchrun started, or one."""
    num_nodes: int | None = None
    """Nodes; null is what torchrun started, or one."""
    strategy: Literal["auto", "single", "ddp", "zero3"] = "auto"
    """auto is single on one device, else ddp; zero3 shards a model too large for one device."""
    threads: int | None = None
    """CPU threads of each process; null leaves torch's choice. Fix it for identical bits."""
    progress_seconds: float = 10.0
    """Seconds between progress lines when the output is not a terminal."""


@dataclass(kw_only=True)
class Config:
    """One complete run."""

    model: ModelConfig
    corpus: CorpusConfig
    locate: LocateConfig
    reduce: ReduceConfig
    evaluate: EvaluateConfig
    report: ReportConfig
    trainer: TrainerConfig
    store: str
    """Path or URL (such as s3://bucket/run.zarr) of the activation store."""
    take_over: bool = False
    """Write the store though another run's lock is on it; never saved with the settings."""
