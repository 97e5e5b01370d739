"""Settings of `vxdist corpus build`."""

from dataclasses import dataclass, field
from typing import Any


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
