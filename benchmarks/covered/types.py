"""The model types of transformers that may hold a language model with a decoder alone."""

from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

ENCODERS = (
    "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie",
    "megatron-bert", "reformer", "rembert", "roberta", "roberta-prelayernorm", "roc_bert",
    "roformer", "xlm", "xlm-roberta", "xlm-roberta-xl", "xlnet", "xmod",
)  # fmt: skip
"""Encoders, which transformers can also run as decoders; no checkpoint of one is a decoder."""
OTHERS = (
    "bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "git", "got_ocr2", "marian",
    "mbart", "moshi", "moss_transcribe_diarize", "musicgen", "musicgen_melody", "mvp",
    "pegasus", "plbart", "prophetnet", "trocr", "whisper",
)  # fmt: skip
"""Encoder-decoders, and models of speech, music or pictures of text."""


def kind_of(name: str) -> str:
    """Kind of a model type, for tables."""
    if name in ENCODERS:
        return "encoder"
    if name in OTHERS:
        return "encoder-decoder, speech"
    name = name.partition(":")[0]
    return "decoder" if name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES else "images and text"


def all_types() -> list[str]:
    """Decoders and models of images and text, by name."""
    names = {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES}
    return sorted(name for name in names if kind_of(name) in ("decoder", "images and text"))
