"""The settings of a run: one section for each stage, and those that stages share.

One YAML file holds all sections; each stage reads those it needs. What a selector, an outcome or
an intervention can be set to is declared in its own file; its settings join the section that
chooses it, under its name, as in `reduce.vape.top_fraction`.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from vxdist.components import compose, find_class, find_table
from vxdist.names import name_evaluations

Section = TypeVar("Section")
Half = Literal["all", "odd", "even"]

COMPONENTS = {
    "ReduceConfig": {"reduce.selector": "vxdist.reduce.selectors:SELECTORS"},
    "EvaluateConfig": {
        "evaluate.outcome": "vxdist.asking.outcomes:OUTCOMES",
        "evaluate.intervention": "vxdist.hooks.interventions:INTERVENTIONS",
    },
}
"""Sections that choose components: the setting, and the table it chooses from."""


def _default_statistics() -> list[str]:
    from vxstore.statistics import DEFAULT  # it needs numpy, and --help does not

    return list(DEFAULT)


@dataclass(kw_only=True)
class ModelConfig:
    """The language model."""

    path: str = ""
    """Hub id, directory, .gguf file, or package:NAME/FILE (weights installed as a package).
    Only locate and evaluate need it."""
    revision: str | None = None
    """Branch, tag or commit of a Hub model; null takes the newest."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """dtype of weights and activations."""
    compile: Literal["none", "layers"] = "none"
    """Whether locate compiles the decoder's layers (torch.compile), which rounds differently and is
    quicker on a GPU; other commands run the model as it is. Needs a C++ compiler, or on a GPU
    Triton and a C compiler; not for mixtures of experts or zero3."""
    trust_remote_code: bool = False
    """Run the Python code that comes with the model; a Hub model then needs the commit it was
    read at in model.revision."""


@dataclass(kw_only=True)
class CorpusConfig:
    """The corpus: stories to record, and dilemmas to evaluate."""

    path: str = "builtin:cvoice-seed"
    """Directory with activation.jsonl and evaluation.jsonl, or builtin:cvoice-seed."""
    encoding: str = "utf-8"
    """Encoding of the corpus files; use gb18030 for GBK."""
    values: list[str] | None = None
    """Values to keep, in this order; null keeps all."""
    languages: list[str] | None = None
    """Languages to keep, in this order; null keeps all."""
    stories_per_group: int | None = None
    """Number of stories to keep per (value, language, stance), the first; null keeps all."""
    dilemmas_per_value: int | None = None
    """Number of evaluation dilemmas to keep per (value, language), the first; null keeps all."""


@dataclass(kw_only=True)
class LocateConfig:
    """Recording how often each neuron is active (`vxdist locate`)."""

    parts_per_group: int | None = 12
    """Number of parts that the dilemmas of each value are dealt to, in every language and stance;
    null makes each dilemma a part. A stopped run resumes at the first part that is not recorded."""
    tokens_per_batch: int = 4096
    """Largest number of tokens in a batch, padding included."""
    max_padding: float = 0.05
    """Largest fraction of a batch that may be padding."""
    span: Literal["all", "response"] = "all"
    """Tokens that are counted: the whole story, or only the choice and its rationale."""
    too_long: Literal["refuse", "leave_out"] = "refuse"
    """What to do about stories longer than the model's context: refuse them, or leave their
    dilemmas out, in all languages and stances."""
    statistics: list[str] = field(default_factory=_default_statistics)
    """Statistics to record for every neuron; active_count must be among them."""


def _default_adjust() -> list[Literal["length", "setting"]]:
    return ["length"]


@dataclass(kw_only=True)
class AttributeConfig:
    """Attributing the choices to neurons by gradients (`vxdist attribute`). Which values' dilemmas
    are asked, and how, is as in `evaluate`."""

    name: str | None = None
    """Name of the attribution in the store; null takes OUTCOME-DILEMMAS, such as choice-odd."""
    outcome: str | None = None
    """What is attributed: an outcome with log-odds (choice, likelihood); null takes the first such
    outcome of evaluate."""
    dilemmas: Half = "odd"
    """Dilemmas to attribute: all, or those with an odd or an even number among the pairs of their
    value."""
    by_dilemma: bool = False
    """Also keep the attributions to each dilemma: 4 bytes a neuron and dilemma."""
    checkpointing: bool | Literal["auto"] = "auto"
    """Compute each layer again in the backward pass, which takes a third more time and little
    memory; auto does if its activations would fill much of the device's free memory."""
    tokens_per_batch: int = 2048
    """Largest number of tokens in a batch, padding included."""
    max_padding: float = 0.1
    """Largest fraction of a batch that may be padding."""


@dataclass(kw_only=True)
class ReduceConfig:
    """Scoring neurons, and selecting those of each value."""

    name: str | None = None
    """Name of the score in the store; null takes the name of the selector."""
    selector: str = "contrast"
    """How neurons are scored and selected."""
    fdr: float = 0.1
    """False discovery rate at which something is claimed of a neuron."""
    shuffles: int = 200
    """Shuffles of the dilemmas' values that the tests are checked with; 0 computes no null."""
    halves: int = 10
    """Times that the dilemmas are halved, to see how alike the selections of both halves are."""
    adjust: list[Literal["length", "setting"]] = field(default_factory=_default_adjust)
    """What the tests of levels 1 to 3 are adjusted for: the length of the stories, their setting
    (recorded with locate.parts_per_group: null)."""
    seed: int = 0
    """Seed of the shuffles and halves."""


@dataclass(kw_only=True)
class EvaluateConfig:
    """Ablating the selected neurons, and scoring the dilemmas again."""

    name: str | None = None
    """Name of the evaluation in the store; null takes the name of the outcome. Of several outcomes
    each has an evaluation, NAME-OUTCOME."""
    outcome: list[str] | str = "choice"
    """What is measured of the model: one outcome, or several, as in [choice, likelihood, harm]."""
    intervention: str = "zero"
    """What the activations of ablated neurons become."""
    scores: str | None = None
    """Name of the score whose selected neurons are ablated; null takes that of reduce.name."""
    masks: str | None = None
    """Mask file whose neurons are ablated instead of a score's, as `vxstore export` writes it.
    Controls are still matched by the activity recorded in the store."""
    values: list[str] | None = None
    """Values to ablate, and whose dilemmas to score; null takes all."""
    dilemmas: Half = "all"
    """Dilemmas to score: all, or those with an odd or an even number among the pairs of their
    value. With neurons that `attribute` chose on one half, take the other."""
    chat: Literal["auto", "never"] = "auto"
    """auto asks through the chat template of the model, if it has one; never asks without it, as
    a base model is asked."""
    template: dict[str, Any] = field(default_factory=dict)
    """Arguments of the chat template, such as {enable_thinking: false}."""
    system: str | None = None
    """System text of the chat; null leaves it to the chat template."""
    answer_prefix: dict[str, str] | str | None = None
    """Text that the answer begins with, which ends the prompt: one, or one by language."""
    date: str | None = None
    """Date (2026-01-31) that a chat template sees as today; null takes the day the evaluation
    began."""
    least_mass: float = 0.1
    """Probability that the intact model must give to the answers, on a trial of some questions;
    below it nothing is evaluated."""
    controls: int = 16
    """Control draws per value: random neurons matched to the mask by layer, count and activity.
    Fewer than 4 give no p."""
    control_pool: int = 16
    """Each control neuron is drawn from this many neurons nearest in activity to the one that it
    is matched to."""
    control_dilemmas: Literal["all", "own"] = "all"
    """Dilemmas that control draws are asked about: all, or those of their mask's own value only.
    The latter takes a fraction of the time, and gives p for the effect of each mask on its own
    value, but none for its effects on others, nor for what it does beyond them."""
    draws: Literal["random", "quantiles"] = "random"
    """Which matched sets the control draws are: any, or those at even quantiles of what an
    attribution of the same dilemmas predicts."""
    tokens_per_batch: int = 4096
    """Largest number of tokens in a batch, padding included."""
    max_padding: float = 0.1
    """Largest fraction of a batch that may be padding."""
    seed: int = 0
    """Seed of the control draws."""
    fdr: float = 0.1
    """False discovery rate at which something is claimed of a mask's effect."""
    confidence: float = 0.95
    """Confidence level of the intervals."""

    def __post_init__(self) -> None:
        """A list of one outcome is that outcome."""
        if isinstance(self.outcome, list) and len(self.outcome) == 1:
            self.outcome = self.outcome[0]


@dataclass(kw_only=True)
class ReportConfig:
    """The report: one HTML page."""

    path: str | None = None
    """HTML file to write; null puts it beside the store."""
    score: str | None = None
    """Name of the score to show; null takes that of reduce.name, or of the evaluation shown."""
    evaluation: str | None = None
    """Name of the evaluation to show; null takes that of evaluate.name, if it ablated neurons of
    the score shown."""
    top_neurons: int = 5
    """Number of neurons listed per value and language."""


@dataclass(kw_only=True)
class TrainerConfig:
    """Where and how the model runs."""

    accelerator: Literal["cpu", "gpu"] = "cpu"
    """Type of device to run the model on."""
    devices: int | None = None
    """Number of devices per node; null takes what torchrun started, or one."""
    num_nodes: int | None = None
    """Number of nodes; null takes what torchrun started, or one."""
    strategy: Literal["auto", "single", "ddp", "zero3"] = "auto"
    """auto is single on one device, else ddp; zero3 shards a model too large for one device."""
    offload: Literal["none", "cpu", "nvme"] = "none"
    """Where zero3 keeps the shards between uses: on the device, in CPU memory, or on disk."""
    offload_path: str | None = None
    """Folder on a fast local disk, for offload nvme."""
    shard_group: int | None = None
    """Under zero3, ranks (of one node) that keep a full copy of the weights between them, so that
    gathering stays within the node; null shards over all ranks."""
    meet_timeout: float = 900.0
    """Seconds that ranks wait for each other to come, before any loads the model."""
    load_timeout: float = 3600.0
    """Seconds that ranks wait for each other while the model loads."""
    peer_timeout: float = 90.0
    """Seconds without a heartbeat after which a rank is considered dead and the others stop."""
    threads: int | None = None
    """CPU threads of each process; null leaves torch's choice. Fix it for identical bits."""
    progress_seconds: float = 10.0
    """Seconds between progress lines when the output is not a terminal."""


def compose_section(section: type[Section]) -> type[Section]:
    """A section's dataclass, with the settings of the components that it chooses from."""
    tables = COMPONENTS.get(section.__name__, {})
    return compose(section, {key: find_table(where) for key, where in tables.items()})


def _make_reduce() -> ReduceConfig:
    return compose_section(ReduceConfig)()


def _make_evaluate() -> EvaluateConfig:
    return compose_section(EvaluateConfig)()


@dataclass(kw_only=True)
class Config:
    """One complete run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    locate: LocateConfig = field(default_factory=LocateConfig)
    attribute: AttributeConfig = field(default_factory=AttributeConfig)
    reduce: ReduceConfig = field(default_factory=_make_reduce)
    evaluate: EvaluateConfig = field(default_factory=_make_evaluate)
    report: ReportConfig = field(default_factory=ReportConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    store: str = ""
    """Path or URL (such as s3://bucket/run.zarr) of the activation store."""
    take_over: bool = False
    """Write the store even though another run holds its lock; never saved with the settings."""

    def kept(self, *sections: str) -> dict[str, Any]:
        """Some sections and the store's path, as plain JSON: what a group keeps of its settings."""
        whole = dataclasses.asdict(self)
        return {name: whole[name] for name in (*sections, "store")}

    @property
    def score_name(self) -> str:
        """Name of the score that `reduce` writes."""
        return self.reduce.name or self.reduce.selector

    @property
    def evaluation_names(self) -> dict[str, str]:
        """Names of the evaluations that `evaluate` writes, by outcome, in order."""
        return name_evaluations(self.evaluate.outcome, self.evaluate.name)

    @property
    def attributed_outcome(self) -> str:
        """The outcome that `attribute` attributes: of those of evaluate the first with log-odds, or
        else the first."""
        if self.attribute.outcome is not None:
            return self.attribute.outcome
        named = self.evaluate.outcome
        names = [named] if isinstance(named, str) else named
        table = find_table(COMPONENTS["EvaluateConfig"]["evaluate.outcome"])
        able = (n for n in names if hasattr(find_class(table, n, "evaluate.outcome"), "log_odds"))
        return next(able, "".join(names[:1]))

    @property
    def attribution_name(self) -> str:
        """Name of the attribution that `attribute` writes."""
        settings = self.attribute
        return settings.name or f"{self.attributed_outcome}-{settings.dilemmas}"

    @property
    def evaluation_name(self) -> str:
        """Name of the evaluation of the first outcome."""
        return next(iter(self.evaluation_names.values()), "")
