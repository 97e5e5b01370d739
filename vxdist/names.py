"""What the groups of a store are called that settings make."""

from collections.abc import Sequence


def name_evaluations(outcomes: str | Sequence[str], name: str | None) -> dict[str, str]:
    """Names of the evaluations of some outcomes, by outcome, in order.

    One outcome has the evaluation `name`, of several each has NAME-OUTCOME; without `name` each is
    called as its outcome is.
    """
    if isinstance(outcomes, str):
        outcomes = [outcomes]
    if name and len(outcomes) == 1:
        return {outcomes[0]: name}
    return {outcome: f"{name}-{outcome}" if name else outcome for outcome in outcomes}
