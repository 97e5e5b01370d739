"""Whether each text is in the language it says."""

from collections.abc import Callable, Iterator, Sequence

from vxdist.config import CheckConfig
from vxdist.corpus.check.findings import Checked, Finding
from vxdist.corpus.check.text import Items
from vxdist.corpus.items import ActivationItem, EvaluationItem


def check_languages(
    items: Items, config: CheckConfig, advance: Callable[[int], object] = lambda _: None
) -> Checked:
    """Warn of fields that seem to be in another language.

    Told by py3langid, from 97 languages; a language it does not know is not looked at. Fields
    shorter than `language_letters` are left out, for they are too easily mistaken. `advance` is
    told of each item.
    """
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identify = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    known = set(identify.labels)
    findings = []
    for item in items:
        advance(1)
        expected = item.language.lower().replace("_", "-").partition("-")[0]
        if expected not in known:
            continue
        for field, text in _fields(item):
            if len(text) < config.language_letters.get(expected, config.language_letters["other"]):
                continue
            found, sureness = identify.classify(text)
            if found != expected and sureness >= config.language_sureness:
                findings.append(
                    Finding(
                        level="warning",
                        kind="language",
                        what=f"{item.id}: {field} seems to be in {found}, not {item.language}: "
                        f"{text[:40]!r}",
                        weight=float(sureness),
                        items=(item.id,),
                    )
                )
    unknown = {item.language for item in items} - {
        item.language for item in items if item.language.lower()[:2] in known
    }
    findings += [
        Finding(level="note", kind="language", what=f"language {name!r} cannot be recognised")
        for name in sorted(unknown)
    ]
    return Checked(findings=findings)


def _fields(item: ActivationItem | EvaluationItem) -> Iterator[tuple[str, str]]:
    names: Sequence[str] = (
        ("dilemma", "choice", "rationale")
        if isinstance(item, ActivationItem)
        else ("dilemma", "aligned", "violating")
    )
    for name in names:
        yield name, getattr(item, name)
