"""Check that each text is in its declared language."""

from vxdist.corpus.check.findings import Checked, Finding, Track, untracked
from vxdist.corpus.check.settings import CheckConfig
from vxdist.corpus.check.text import Items, text_fields

ONE_SCRIPT = {"yue": "zh", "wuu": "zh"}
"""Languages treated as another one: traditional characters can look like Cantonese."""


def check_languages(items: Items, config: CheckConfig, track: Track = untracked) -> Checked:
    """Warn about fields that seem to be in another language.

    py3langid recognises about 140 languages; items in any other language are skipped. So are
    fields shorter than `language_letters`, which are too easily misclassified.
    """
    recogniser = Recogniser(config)
    findings = []
    for item in track(items, "languages", "items"):
        for field, text in text_fields(item):
            if (other := recogniser.find_other(text, item.language)) is not None:
                found, confidence = other
                findings.append(
                    Finding(
                        level="warning",
                        kind="language",
                        message=f"{item.id}: {field} seems to be in {found}, not {item.language}: "
                        f"{text[:40]!r}",
                        weight=confidence,
                        items=(item.id,),
                    )
                )
    unknown = {item.language for item in items if not recogniser.knows(item.language)}
    findings += [
        Finding(level="note", kind="language", message=f"language {name!r} cannot be recognised")
        for name in sorted(unknown)
    ]
    return Checked(findings=findings)


class Recogniser:
    """Recognises texts that are not in their declared language."""

    def __init__(self, config: CheckConfig) -> None:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        self._config = config
        self._identify = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        self._known = set(self._identify.labels)

    def knows(self, language: str) -> bool:
        """Whether this language can be recognised."""
        return _short(language) in self._known

    def find_other(self, text: str, language: str) -> tuple[str, float] | None:
        """(language, confidence) if a text seems to be in another language, else None."""
        expected, minimum = _short(language), self._config.language_letters
        if expected not in self._known or len(text) < minimum.get(expected, minimum["other"]):
            return None
        found, confidence = self._identify.classify(text)
        if _short(found) == expected or confidence < self._config.language_confidence:
            return None
        return str(found), float(confidence)


def _short(language: str) -> str:
    name = language.lower().replace("_", "-").partition("-")[0]
    return ONE_SCRIPT.get(name, name)
