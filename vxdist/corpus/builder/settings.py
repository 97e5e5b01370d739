"""Validation of the settings of a build."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from vxdist.corpus.builder.config import BuildConfig
from vxdist.corpus.items import STANCES
from vxdist.errors import UserError


def check_settings(config: BuildConfig) -> None:
    """Raise UserError naming the first invalid setting."""
    for name in ("out", "model"):
        if not getattr(config, name):
            raise UserError(f"build.{name} is required")
    unknown = [stance for stance in config.stances if stance not in STANCES]
    if unknown or not config.stances:
        raise UserError(f"build.stances: found {config.stances}, expected {', '.join(STANCES)}")
    if not config.languages or len(set(config.languages)) < len(config.languages):
        raise UserError(
            f"build.languages: found {config.languages}, expected at least one, without duplicates"
        )
    for name in ("concurrency", "attempts", "answer_tokens"):
        if getattr(config, name) < 1:
            raise UserError(f"build.{name}: found {getattr(config, name)}, expected at least 1")
    for name in ("stories_per_value", "dilemmas_per_value", "retries"):
        if getattr(config, name) < 0:
            raise UserError(f"build.{name}: found {getattr(config, name)}, expected at least 0")
    for name in ("dilemma_words", "rationale_words"):
        _check_bounds(f"build.{name}", getattr(config, name), config.languages)
    _check_limits(config)
    _check_address(config.base_url)


def _check_limits(config: BuildConfig) -> None:
    for name in ("timeout", "load_timeout", "option_ratio"):
        if getattr(config, name) <= 0:
            raise UserError(f"build.{name}: found {getattr(config, name)}, expected more than 0")
    for name in ("requests_per_minute", "tokens_per_minute", "most_tokens", "most_cost"):
        if (limit := getattr(config, name)) is not None and limit <= 0:
            raise UserError(f"build.{name}: found {limit}, expected more than 0, or null")
    prices = config.prompt_price, config.answer_price
    if min(prices) < 0 or (config.most_cost is not None and max(prices) == 0):
        raise UserError(
            f"build.prompt_price, build.answer_price: found {prices[0]} and {prices[1]}, expected "
            "prices per million tokens; build.most_cost has no effect without them"
        )


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise UserError(
            f"build.base_url: found {url}, expected an address such as http://localhost:8000/v1"
        )


def _check_bounds(key: str, bounds: Mapping[str, Sequence[int]], languages: Sequence[str]) -> None:
    for language in languages:
        pair = bounds.get(language, bounds.get("other", ()))
        if len(pair) != 2 or not 0 < pair[0] <= pair[1]:
            raise UserError(
                f"{key}: found {list(pair)} for {language!r}, expected [MIN, MAX] for each "
                "language, or for `other`"
            )
