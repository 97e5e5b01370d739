"""The positive control: what decides is found, and decoys that decide nothing are not."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The parts of the benchmark import each other as scripts do."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "planted"]:
        del sys.modules[name]


@pytest.mark.long
def test_planted_values_reach_level_5_and_those_of_the_twin_do_not(tmp_path: Path) -> None:
    small = ("--small", "--planted", "1", "--natural", "0", "--twins", "1", "--shuffles", "20")
    out = tmp_path / "result.json"
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "control.py"), *small, "--selectors", "contrast",
         "--json", "--out", str(out)],
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result == json.loads(out.read_text())
    planted, twin = result["runs"]
    assert (planted["kind"], twin["kind"]) == ("planted", "twin")
    for run in (planted, twin):
        assert run["truth"]["aligned"] > 0.9
        contrast = run["selectors"]["contrast"]
        # In both the shaped neurons are active in texts of their value, and are selected.
        assert contrast["levels"]["1"]["assignments"] >= contrast["selected"]
        assert contrast["shaped_selected"] >= run["truth"]["shaped"] / 2
        assert contrast["evaluation"]["masks"] == result["size"]["values"]
    assert planted["truth"]["shaped_causal"] == planted["truth"]["shaped"]
    assert twin["truth"]["shaped_causal"] == 0
    found = planted["selectors"]["contrast"]["evaluation"]
    assert found["further"] >= result["size"]["values"] / 2
    for cell in found["cells"]:
        if cell["q_value"] <= result["fdr"]:
            assert cell["mean_shift"] < -2 * abs(cell["others_mean"])
    assert twin["selectors"]["contrast"]["evaluation"]["found"] == 0


def test_no_word_alone_decides(tmp_path: Path) -> None:
    from planted.language import make_language, write

    from vxdist.config import CorpusConfig
    from vxdist.corpus import load_corpus

    language = make_language(8, 6, 0, common=False)
    assert (language.rule_VF.mean(axis=1) == 0.5).all()
    assert set(language.rule_VF.sum(axis=0)) <= {3, 4, 5}
    assert len(np.unique(language.rule_VF, axis=0)) == 8
    assert len(np.unique(make_language(8, 6, 0, common=True).rule_VF, axis=0)) == 1
    write(language, tmp_path, stories=12, dilemmas=6, seed=0)
    corpus = load_corpus(CorpusConfig(path=str(tmp_path)))
    assert len(corpus.values) == 8
    assert (len(corpus.activation), len(corpus.evaluation)) == (8 * 12 * 2, 8 * 6)
    assert len(corpus.neutral) == 16
    settings = {(item.value, item.setting) for item in corpus.activation}
    assert len(settings) > 8 * 4, "settings cross values"
    with pytest.raises(ValueError, match="no 7 different rules"):
        make_language(7, 4, 0, common=False)


def test_causal_is_own_and_beyond_others(importable: None) -> None:
    from planted.truth import judge, welch_p

    rng = np.random.default_rng(0)
    own_KD, other_KD = rng.normal(size=(20, 12)), rng.normal(0.3, 2, size=(20, 40))
    expected = stats.ttest_ind(own_KD, other_KD, axis=1, equal_var=False, alternative="less")
    np.testing.assert_allclose(welch_p(own_KD, other_KD), expected.pvalue)
    value_D = np.repeat([0, 1, 2], 8)
    shift_KD = rng.normal(0, 0.02, size=(4, 24))
    shift_KD[0, value_D == 1] -= 1.0  # of value 1
    shift_KD[1] -= 1.0  # of all values alike
    shift_KD[2, value_D == 2] += 1.0  # raises value 2, and so lowers none
    shift_KD[3, value_D == 0] -= 0.05  # surely, but next to nothing
    _, causal_KV = judge(shift_KD, value_D, 3, fdr=0.05)
    assert np.argwhere(causal_KV).tolist() == [[0, 1]]


def test_one_by_one_in_a_batch_is_as_one_by_one(
    model_folder: Path, corpus_folder: Path, prompter: Any
) -> None:
    from planted.truth import Singly

    from vxdist.asking.checks import make_outcome
    from vxdist.config import Config, CorpusConfig, ModelConfig
    from vxdist.corpus import load_corpus
    from vxdist.hooks.ablation import Ablation
    from vxdist.model.load import load_model
    from vxdist.model.source import find_model
    from vxdist.runtime.work import make_batch

    config = ModelConfig(path=str(model_folder))
    model = load_model(find_model(config), config)
    outcome: Any = make_outcome(Config().evaluate)
    items = load_corpus(CorpusConfig(path=str(corpus_folder))).evaluation[:6]
    questions = outcome.ask(items, prompter, None)
    single = Singly(model, outcome, questions)
    neurons = [(0, 3), None, (2, 40)]
    found_KD = single.log_odds(neurons)
    single.log_odds([None])
    ablation = Ablation(single.hook_points, next(model.parameters()).device)
    for found_D, neuron in zip(found_KD, neurons, strict=True):
        ablation.ablate({} if neuron is None else {neuron[0]: np.array([neuron[1]])})
        texts = [(question.token_ids_T, None) for question in questions]
        batch = make_batch(0, tuple(range(len(texts))), texts)
        number_Q = outcome.measure(model, batch, questions)["log_odds"]
        np.testing.assert_allclose(found_D, number_Q.reshape(-1, 2).mean(axis=1), atol=1e-4)
    assert abs(found_KD[0] - found_KD[1]).max() > 1e-3
    assert abs(found_KD[2] - found_KD[1]).max() > 1e-3
