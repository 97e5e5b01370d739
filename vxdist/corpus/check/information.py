"""How much the setting of a dilemma says about its value: mutual information, against shuffles.

Where settings belong to values, neurons of a setting look like neurons of a value. D: dilemma, V:
value, S: setting.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vxdist.corpus.check.dilemmas import Integers
from vxdist.corpus.check.findings import Checked, Finding, Table, show
from vxdist.corpus.check.settings import CheckConfig
from vxdist.corpus.items import ActivationItem, EvaluationItem
from vxstore.text import plural

COLUMNS = ("split", "dilemmas", "settings", "information", "of value", "shuffled", "shuffled 95 %",
           "p")  # fmt: skip
Row = tuple[str, int, int, float, float, float, float, float]
ROUNDING = 1e-12
"""Difference up to which sums of the same terms in another order are equal."""


@dataclass(frozen=True, kw_only=True)
class Information:
    """Mutual information of value and setting in nats, and what shuffles of the settings have."""

    dilemmas: int
    settings: int
    nats: float
    of_value: float
    """`nats` as a fraction of the entropy of the value (Theil's U, 1970)."""
    shuffled_mean: float
    shuffled_95: float
    """The 95 % point of the shuffles, in nats."""
    p: float
    """Fraction of shuffles that have as much, the corpus's own labels counted as one of them."""


def check_information(
    activation: Sequence[ActivationItem], evaluation: Sequence[EvaluationItem], config: CheckConfig
) -> Checked:
    """Compare the settings of each split's values with shuffled settings."""
    rows: list[Row] = []
    findings: list[Finding] = []
    splits: dict[str, Sequence[ActivationItem | EvaluationItem]] = {
        "activation": activation, "evaluation": evaluation
    }  # fmt: skip
    for split, items in splits.items():
        values, settings = label(items)
        without = len({item.pair for item in items}) - len(values)
        findings += [*_judge_missing(split, len(values), without)]
        if len(set(values)) < 2:
            continue
        found = measure(values, settings, config)
        rows.append((split, found.dilemmas, found.settings, found.nats, found.of_value,
                     found.shuffled_mean, found.shuffled_95, found.p))  # fmt: skip
        findings += [*_judge(split, found)]
    title = (
        "Setting by value: mutual information in nats and as a fraction of the value's entropy, "
        f"and that of {config.shuffles:,} shuffles of settings over dilemmas"
    )
    shown = [(*map(str, r[:3]), *(show(n, ".3f") for n in r[3:7]), show(r[7], ".2g")) for r in rows]
    table = Table(name="settings", title=title, columns=COLUMNS, rows=rows, shown=(COLUMNS, shown))
    tables = [table] if rows else []
    return Checked(findings=findings, tables=tables)


def label(items: Sequence[ActivationItem | EvaluationItem]) -> tuple[list[str], list[str]]:
    """Value and setting of each dilemma that names a setting."""
    of_pair: dict[str, tuple[str, str]] = {}
    for item in items:
        if item.setting:
            of_pair.setdefault(item.pair, (item.value, item.setting))
    return [value for value, _ in of_pair.values()], [setting for _, setting in of_pair.values()]


def measure(values: Sequence[str], settings: Sequence[str], config: CheckConfig) -> Information:
    """Mutual information of the labels of dilemmas, and of `config.shuffles` shuffles of it."""
    _, value_D = np.unique(values, return_inverse=True)
    _, setting_D = np.unique(settings, return_inverse=True)
    own = mutual_information(value_D, setting_D)
    rng = np.random.default_rng(config.seed)
    shuffled = np.array(
        [mutual_information(value_D, rng.permutation(setting_D)) for _ in range(config.shuffles)]
    )
    fraction = np.bincount(value_D) / len(value_D)
    as_much = int((shuffled >= own - ROUNDING).sum())
    return Information(
        dilemmas=len(value_D),
        settings=len(set(settings)),
        nats=own,
        of_value=own / float(-(fraction * np.log(fraction)).sum()),
        shuffled_mean=float(shuffled.mean()),
        shuffled_95=float(np.quantile(shuffled, 0.95, method="higher")),
        p=(1 + as_much) / (1 + config.shuffles),
    )


def mutual_information(value_D: Integers, setting_D: Integers) -> float:
    """I(V; S) in nats, from counts: sum of n/D log(n D / (n_V n_S)) over the cells that occur."""
    total = len(value_D)
    width = int(setting_D.max()) + 1
    cell, count = np.unique(value_D * width + setting_D, return_counts=True)
    of_value = np.bincount(value_D)[cell // width]
    of_setting = np.bincount(setting_D)[cell % width]
    terms = count / total * np.log(count * total / (of_value * of_setting))
    return max(0.0, float(terms.sum()))


def _judge_missing(split: str, labelled: int, without: int) -> Iterator[Finding]:
    if labelled == 0 and without:
        message = f"no {split} dilemma names a setting, so whether settings belong to values is "
        yield Finding(level="note", kind="setting", message=f"{message}not known")
    elif without:
        yield Finding(
            level="note",
            kind="setting",
            message=f"{plural(without, f'{split} dilemma')} of {labelled + without:,} name no "
            "setting, and are left out of setting by value",
        )


def _judge(split: str, found: Information) -> Iterator[Finding]:
    if found.nats > found.shuffled_95 + ROUNDING:
        yield Finding(
            level="warning",
            kind="setting",
            message=f"{split}: settings belong to values: {found.nats:.3f} nats "
            f"({found.of_value:.0%} of the value's entropy), shuffled {found.shuffled_mean:.3f} on "
            f"average and {found.shuffled_95:.3f} at the 95 % point (p {found.p:.2g}); neurons of "
            "a setting then look like neurons of a value",
            weight=found.nats - found.shuffled_mean,
        )
