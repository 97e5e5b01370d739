"""Cost of `vxdist corpus check` at the paper's scale: seconds per check, and what each finds.

    python benchmarks/corpus.py --items 150000

The corpus is made of the seed's sentences, drawn at random for each text, so that most texts share
some with others, as texts of one language model do. One in a hundred is an earlier text with one
sentence changed, which the search for near-duplicates must find. Prints JSON; `over_reading` is the
time of a check divided by the time to read the same files.
"""

import argparse
import json
import random
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vxdist.config import CorpusConfig
from vxdist.corpus import ActivationItem, EvaluationItem, load_corpus
from vxdist.corpus.check.balance import check_balance
from vxdist.corpus.check.coverage import check_coverage
from vxdist.corpus.check.cues import check_cues
from vxdist.corpus.check.duplicates import check_duplicates, jaccard
from vxdist.corpus.check.language import check_languages
from vxdist.corpus.check.settings import CheckConfig
from vxdist.corpus.read import read_corpus
from vxdist.corpus.write import write_corpus

SENTENCE = re.compile(r"[^。！？.!?]+[。！？.!?]+[”\"’]?")
SENTENCES = {"dilemma": 4, "rationale": 5}
EVALUATION = 30
"""One item in this many is an evaluation dilemma, as in the paper (200 per 6,000)."""
PLANTED = 100
"""One text in this many is a near-duplicate of an earlier one."""


def main() -> None:
    """Make a corpus, check it, and print the cost."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--items", type=int, default=150_000)
    options = parser.parse_args()
    planted: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        items = [*make_items(options.items, planted)]
        stories = [item for item in items if isinstance(item, ActivationItem)]
        dilemmas = [item for item in items if isinstance(item, EvaluationItem)]
        write_corpus(Path(folder), stories, dilemmas, {})
        size = {"items": len(items), "texts": 2 * len(stories) + len(dilemmas)}
        print(json.dumps(size | measure(folder, planted), indent=2))


def make_items(number: int, planted: set[str]) -> Iterator[ActivationItem | EvaluationItem]:
    """Items of the seed's values and languages, with made-up texts; copies go into `planted`."""
    chance = random.Random(0)
    seed = load_corpus(CorpusConfig())
    pool = {
        language: [s.strip() for i in seed.activation if i.language == language
                   for text in (i.dilemma, i.rationale) for s in SENTENCE.findall(text)]
        for language in seed.languages
    }  # fmt: skip
    earlier: dict[str, list[list[str]]] = {language: [] for language in pool}
    for n in range(number):
        value, language = seed.values[n % len(seed.values)], seed.languages[n // 2 % 2]
        space = "" if language == "zh" else " "
        dilemma = chance.choices(pool[language], k=SENTENCES["dilemma"])
        name = f"{value}-{n}"
        if earlier[language] and n % PLANTED == 0:
            sentences = chance.choice(earlier[language])
            dilemma = [*sentences[:-1], dilemma[-1]]
            config, texts = CheckConfig(), (space.join(dilemma), space.join(sentences))
            # Not so if the new sentence is long.
            if jaccard(*texts, config.shingle_words) >= config.similarity:
                planted.add(name)
        earlier[language].append(dilemma)
        shared = {"id": name, "pair": name, "value": value, "language": language,
                  "setting": "school", "rival": "gain", "dilemma": space.join(dilemma)}  # fmt: skip
        options = chance.choices(pool[language], k=2)
        if n % EVALUATION == 0:
            yield EvaluationItem(**shared, aligned=options[0], violating=options[1])
            continue
        rationale = chance.choices(pool[language], k=SENTENCES["rationale"])
        yield ActivationItem(**shared, stance="aligned", choice=options[0],
                             rationale=space.join(rationale))  # fmt: skip


def measure(folder: str, planted: set[str]) -> dict[str, Any]:
    """Seconds of reading and of each check, fraction of the copies found, and peak memory."""
    config = CheckConfig()
    began = time.perf_counter()
    corpus = read_corpus(folder)
    seconds = {"reading": time.perf_counter() - began}
    activation, evaluation = corpus.activation.items, corpus.evaluation.items
    found: set[str] = set()
    for name, check in {
        "duplicates": lambda: check_duplicates(activation, evaluation, config),
        "languages": lambda: check_languages([*activation, *evaluation], config),
        "coverage": lambda: check_coverage(activation, evaluation, config),
        "balance": lambda: check_balance(activation, evaluation, config),
        "cues": lambda: check_cues(activation, evaluation, config),
    }.items():
        print(f"{name} ...", file=sys.stderr, flush=True)
        began = time.perf_counter()
        checked = check()
        seconds[name] = time.perf_counter() - began
        found |= {
            n for f in checked.findings for n in f.items if f.kind in ("duplicate", "leakage")
        }
    return {
        "seconds": {name: round(took, 2) for name, took in seconds.items()},
        "over_reading": {n: round(t / seconds["reading"], 2) for n, t in seconds.items()},
        "planted": len(planted),
        "share_of_planted_found": round(len(planted & found) / max(1, len(planted)), 4),
        "peak_gigabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }


if __name__ == "__main__":
    main()
