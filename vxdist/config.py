"""Every setting of every stage, with its default. Nothing else in vxdist has defaults.

One YAML file holds all sections; each stage reads the ones it needs.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from vxstore.statistics import DEFAULT

PROMPTS = {
    "en": ("{dilemma}\n\nWhat would you do?\nA. {a}\nB. {b}\n\nAnswer with one letter, A or B."),
    "zh": "{dilemma}\n\n你会怎么做?\nA. {a}\nB. {b}\n\n只回答一个字母:A 或 B。",
}


CUES = {"en": "Answer:", "zh": "答案:"}

CHARACTERS_PER_TOKEN = {"en": 4.6, "zh": 1.1, "other": 1.0}


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
    trust_remote_code: bool = False
    """Run the Python code that comes with the model; a Hub model then needs the commit it was
    read at in model.revision."""


@dataclass(kw_only=True)
class CorpusConfig:
    """The texts."""

    path: str = "builtin:cvoice-seed"
    """Directory with activation.jsonl and evaluation.jsonl, or builtin:cvoice-seed."""
    encoding: str = "utf-8"
    """Of its text; gb18030 reads GBK files."""
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
    statistics: list[str] = field(default_factory=lambda: list(DEFAULT))
    """Statistics to record for every neuron; active_count must be among them."""


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
    offload: Literal["none", "cpu", "nvme"] = "none"
    """Where zero3 keeps the shards between uses: on the device, in CPU memory, or on disk."""
    offload_path: str | None = None
    """Folder on a fast local disk for offload nvme."""
    shard_group: int | None = None
    """Under zero3, ranks (of one node) that keep a full copy of the weights between them, so that
    gathering stays within the node; null shards over all ranks."""
    load_timeout: float = 3600.0
    """Seconds that ranks wait for each other while the model loads."""
    peer_timeout: float = 90.0
    """Seconds without a sign of life after which a rank is taken for dead, and the others stop."""
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


@dataclass(kw_only=True)
class ForecastConfig:
    """What `vxdist plan` takes for granted; no stage reads it."""

    gpu_flops: float = 989e12
    """Peak of one GPU, operations a second: NVIDIA H100 SXM, dense bfloat16."""
    cpu_flops: float = 128e9
    """Peak of one CPU thread: AVX-512 at 2 GHz, two multiply-adds of 16 float32 a cycle."""
    fraction: float = 0.4
    """Share of the peak that a forward pass reaches."""
    gpus_per_node: int = 8
    """GPUs of a node, where nothing tells the number of nodes."""
    node_link: float = 300e9
    """Bytes a second at which a GPU is given weights by others of its node (NVLink)."""
    link: float = 40e9
    """The same between nodes: most of 400 Gb/s for each GPU."""
    cpu_link: float = 1e9
    """The same between processes on CPUs."""
    reserve: float = 0.08
    """Share of a GPU's memory that is left to CUDA, NCCL, and gaps between tensors."""
    process_memory: float = 3e9
    """Bytes of CPU memory that Python, torch and CUDA take in each process with a GPU."""
    cpu_process_memory: float = 0.8e9
    """The same without one."""
    characters_per_token: dict[str, float] = field(
        default_factory=lambda: dict(CHARACTERS_PER_TOKEN)
    )
    """By language, where there is no tokenizer to ask. Measured on the seed: Llama 3 has 4.6 in
    English and 1.1 in Chinese, Qwen 2.5 has 4.6 and 1.4."""
    template_tokens: int = 40
    """Tokens that a chat template adds to a question, where there is no tokenizer to ask."""
    length_spread: float = 0.2
    """Texts that do not exist yet are this much longer and shorter than their mean."""
    expert_skew: float = 2.0
    """An expert is given this many times its even share of a batch's tokens, at most."""
    compression: float = 0.78
    """Size on disk of counts, sums and scores over their size in memory: of a 70B's store, measured
    (benchmarks/results)."""
    mask_compression: float = 0.03
    """The same of evaluation masks, which are nearly empty."""


@dataclass(kw_only=True)
class CheckConfig:
    """What `vxdist corpus check` finds worth telling."""

    similarity: float = 0.5
    """Share of runs of words in common that makes two texts near-duplicates."""
    run: int = 3
    """Words of a run; letters of scripts without spaces."""
    hashes: int = 192
    """Of a text's signature."""
    bands: int = 48
    """That it is cut into; texts that agree in one are compared: 95 of 100 that have half of their
    runs in common, and 999 of 1,000 with 60 %."""
    language_letters: dict[str, int] = field(
        default_factory=lambda: {"zh": 12, "ja": 12, "ko": 12, "other": 40}
    )
    """Fewest letters of a text whose language is looked at."""
    language_sureness: float = 0.9
    """With which another language must be found."""
    length_ratio: float = 1.25
    """How many times as long as the shortest mean the longest may be."""
    cue: float = 0.1
    """By how much a cue may tell more, or less, than half."""
    confidence: float = 0.95
    """Of the intervals."""
    folds: int = 5
    """Of the cross-validation of words."""
    dilemmas: int = 12
    """Fewest dilemmas of a value in each split."""
    settings: int = 8
    """Fewest settings of a value."""
    rivals: int = 6
    """Fewest rival motives of a value."""
    seed: int = 0
    """Of the signatures, and of which option a bag of words is shown first."""


@dataclass(kw_only=True)
class BuildConfig:
    """Writing a corpus with a language model (`vxdist corpus build`)."""

    out: str = ""
    """Directory of the corpus; a build that was stopped goes on there."""
    base_url: str = "https://api.openai.com/v1"
    """OpenAI-compatible endpoint, of a provider or of a server of your own."""
    model: str = ""
    """Name of the model at the endpoint."""
    local: bool = False
    """Serve the model on this machine while the build runs; build.model is then anything that
    model.path takes, and build.base_url is not used."""
    load_timeout: float = 3600.0
    """Seconds that a local model may take to load."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; a server on this machine needs none."""
    languages: list[str] = field(default_factory=lambda: ["zh", "en"])
    """The first is written; the others tell the same dilemma."""
    stances: list[str] = field(default_factory=lambda: ["aligned", "violating"])
    """Of the stories."""
    stories_per_value: int = 24
    """Dilemmas of the activation split, each in all languages and stances."""
    dilemmas_per_value: int = 16
    """Dilemmas of the evaluation split, each in all languages."""
    values: str | None = None
    """YAML file of values, with name and meaning by language; null: the twelve of C-Voice."""
    topics: str | None = None
    """YAML file of settings, rivals and narrators; null: those that come with vxdist."""
    prompts: str | None = None
    """Folder of prompts, STEP.LANGUAGE.txt; null: those that come with vxdist."""
    seed: int = 0
    """Of the topics."""
    temperature: float = 1.0
    """Of the model."""
    answer_tokens: int = 1200
    """Most tokens of one answer."""
    request: dict[str, Any] = field(default_factory=dict)
    """Further fields of each request, as the server knows them; for instance
    {"chat_template_kwargs": {"enable_thinking": false}}."""
    structured: bool = True
    """Ask for answers by JSON schema; a server that has no such thing is asked in plain words."""
    concurrency: int = 8
    """Pairs written at once."""
    requests_per_minute: float | None = None
    """Most requests a minute; null: as fast as answers come."""
    tokens_per_minute: float | None = None
    """Most tokens a minute, of prompts and answers."""
    timeout: float = 120.0
    """Seconds without a sign of an answer after which it is asked for again."""
    retries: int = 6
    """Of a request that fails, longer and longer apart, or as the server asks."""
    attempts: int = 6
    """Answers on a topic that are rejected before it is given up."""
    most_tokens: int | None = None
    """Tokens after which the build stops, over all its runs."""
    most_cost: float | None = None
    """Cost after which it stops, in the currency of the prices."""
    prompt_price: float = 0.0
    """Of a million tokens of prompts."""
    answer_price: float = 0.0
    """Of a million tokens of answers."""
    dilemma_words: dict[str, list[int]] = field(
        default_factory=lambda: {"zh": [50, 140], "other": [35, 95]}
    )
    """Fewest and most words of a dilemma by language; letters of Chinese, without punctuation."""
    rationale_words: dict[str, list[int]] = field(
        default_factory=lambda: {"zh": [70, 220], "other": [45, 125]}
    )
    """The same of a rationale."""
    option_ratio: float = 1.5
    """How many times as long as the other an option may be."""
    progress_seconds: float = 10.0
    """Between lines of progress."""
