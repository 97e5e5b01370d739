"""The corpus: dilemmas labelled with value, language and stance."""

from vxdist.corpus.items import STANCES, ActivationItem, Corpus, EvaluationItem, NeutralItem
from vxdist.corpus.read import load_corpus

__all__ = ["STANCES", "ActivationItem", "Corpus", "EvaluationItem", "NeutralItem", "load_corpus"]
