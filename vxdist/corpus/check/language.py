"""Whether each text is in the language it says."""

from collections.abc import Iterator, Sequence

from vxdist.corpus.check.findings import Checked, Finding, Watch, unwatched
from vxdist.corpus.check.settings import CheckConfig
from vxdist.corpus.check.text import Items
from vxdist.corpus.items import ActivationItem, EvaluationItem

ONE_SCRIPT = {"yue": "zh", "wuu": "zh"}
"""Languages taken for another: traditional characters alone can look like Cantonese."""


def check_languages(items: Items, config: CheckConfig, watch: Watch = unwatched) -> Checked:
    """Warn of fields that seem to be in another language.

    Told by py3langid, from 140 languages; a language it does not know is not looked at. Fields
    shorter than `language_letters` are left out, for they are too easily mistaken.
    """
    recogniser = Recogniser(config)
    findings = []
    for item in watch(items, "languages", "items"):
        for field, text in _fields(item):
            if (other := recogniser.find_other(text, item.language)) is not None:
                found, sureness = other
                findings.append(
                    Finding(
                        level="warning",
                        kind="language",
                        what=f"{item.id}: {field} seems to be in {found}, not {item.language}: "
                        f"{text[:40]!r}",
                        weight=sureness,
                        items=(item.id,),
                    )
                )
    unknown = {item.language for item in items if not recogniser.knows(item.language)}
    findings += [
        Finding(level="note", kind="language", what=f"language {name!r} cannot be recognised")
        for name in sorted(unknown)
    ]
    return Checked(findings=findings)


class Recogniser:
    """Tells of texts that are in another language than they should be."""

    def __init__(self, config: CheckConfig) -> None:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        self._config = config
        self._identify = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        self._known = set(self._identify.labels)

    def knows(self, language: str) -> bool:
        """Whether this language can be recognised."""
        return _short(language) in self._known

    def find_other(self, text: str, language: str) -> tuple[str, float] | None:
        """(language, sureness) of a text that seems to be in another one; None if it is not."""
        expected, least = _short(language), self._config.language_letters
        if expected not in self._known or len(text) < least.get(expected, least["other"]):
            return None
        found, sureness = self._identify.classify(text)
        if _short(found) == expected or sureness < self._config.language_sureness:
            return None
        return str(found), float(sureness)


def _short(language: str) -> str:
    name = language.lower().replace("_", "-").partition("-")[0]
    return ONE_SCRIPT.get(name, name)


def _fields(item: ActivationItem | EvaluationItem) -> Iterator[tuple[str, str]]:
    names: Sequence[str] = (
        ("dilemma", "choice", "rationale")
        if isinstance(item, ActivationItem)
        else ("dilemma", "aligned", "violating")
    )
    for name in names:
        yield name, getattr(item, name)
