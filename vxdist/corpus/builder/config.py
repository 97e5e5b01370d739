"""Settings of `vxdist corpus build`."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True)
class BuildConfig:
    """Generate a corpus with a language model."""

    out: str = ""
    """Directory of the corpus. A build that was stopped resumes there."""
    base_url: str = "https://api.openai.com/v1"
    """Address of an OpenAI-compatible endpoint, a provider's or your own server's."""
    model: str = ""
    """Name of the model at the endpoint."""
    local: bool = False
    """Serve the model on this machine for the duration of the build. build.model then takes what
    model.path takes, and build.base_url is ignored."""
    load_timeout: float = 3600.0
    """Maximum number of seconds for a local model to load."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable with the API key. A server on this machine needs none."""
    languages: list[str] = field(default_factory=lambda: ["zh", "en"])
    """Languages of the corpus. Dilemmas are written in the first and retold in the others."""
    stances: list[str] = field(default_factory=lambda: ["aligned", "violating"])
    """Stances for which stories are written."""
    stories_per_value: int = 24
    """Number of activation dilemmas per value, each in all languages and stances."""
    dilemmas_per_value: int = 16
    """Number of evaluation dilemmas per value, each in all languages."""
    values: str | None = None
    """YAML file of values, with name and meaning by language; null uses C-Voice's twelve."""
    topics: str | None = None
    """YAML file of settings, rivals and narrators; null uses those bundled with vxdist."""
    prompts: str | None = None
    """Directory of prompts named STEP.LANGUAGE.txt; null uses those bundled with vxdist."""
    seed: int = 0
    """Random seed for drawing topics."""
    temperature: float = 1.0
    """Sampling temperature."""
    answer_tokens: int = 1200
    """Maximum number of tokens per answer."""
    request: dict[str, Any] = field(default_factory=dict)
    """Additional fields of each request, as the server defines them; for instance
    {"chat_template_kwargs": {"enable_thinking": false}}."""
    structured: bool = True
    """Request answers by JSON schema. If the server does not support schemas, the prompt alone
    asks for JSON."""
    concurrency: int = 8
    """Number of pairs written at once."""
    requests_per_minute: float | None = None
    """Maximum number of requests per minute; null for no limit."""
    tokens_per_minute: float | None = None
    """Maximum number of tokens per minute, prompts and answers together; null for no limit."""
    timeout: float = 120.0
    """Seconds without a response before a request is retried."""
    retries: int = 6
    """Maximum number of retries of a failed request, with exponential backoff or as the server
    asks."""
    attempts: int = 6
    """Number of rejected answers after which a topic is given up."""
    most_tokens: int | None = None
    """Token budget over all runs of the build, which stops when it is spent; null for no limit."""
    most_cost: float | None = None
    """Cost budget over all runs of the build, in the currency of the prices; null for no limit."""
    prompt_price: float = 0.0
    """Price per million prompt tokens."""
    answer_price: float = 0.0
    """Price per million answer tokens."""
    dilemma_words: dict[str, list[int]] = field(
        default_factory=lambda: {"zh": [50, 140], "other": [35, 95]}
    )
    """Minimum and maximum number of words of a dilemma, by language (characters for Chinese,
    without punctuation)."""
    rationale_words: dict[str, list[int]] = field(
        default_factory=lambda: {"zh": [70, 220], "other": [45, 125]}
    )
    """Minimum and maximum number of words of a rationale, by language."""
    option_ratio: float = 1.5
    """Maximum ratio of the lengths of the two options of a dilemma."""
    progress_seconds: float = 10.0
    """Seconds between progress lines."""
