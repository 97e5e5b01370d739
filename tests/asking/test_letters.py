"""Which tokens mean a letter, in vocabularies of several makes."""

import copy
import time
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from vxdist.asking.letters import letter_tokens
from vxdist.errors import UserError


def sentencepiece(*pieces: str, byte_fallback: bool = False) -> Any:
    """A tokenizer that puts a blank before each text, as those made with SentencePiece do."""
    scored = [("<unk>", 0.0), *((piece, -1.0 - n / 100) for n, piece in enumerate(pieces))]
    core = Tokenizer(models.Unigram(scored, unk_id=0, byte_fallback=byte_fallback))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    core.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")


def pieces(tokenizer: Any, tokens: tuple[int, ...]) -> list[str]:
    return sorted(tokenizer.convert_ids_to_tokens(list(tokens)))


def test_both_pieces_of_sentencepiece() -> None:
    """`答案:A` ends in the piece without a blank, `Answer: A` in the one with it."""
    tokenizer = sentencepiece("▁", "答", "案", ":", "A", "B", "▁A", "▁B", "Ａ", "▁An", "AB", "▁A.")
    for text in ("答案:A", "A"):
        (last,) = tokenizer(text)["input_ids"][-1:]
        assert last in letter_tokens(tokenizer)[0], text
    a, b = letter_tokens(tokenizer)
    assert pieces(tokenizer, a) == ["A", "▁A", "Ａ"]
    assert pieces(tokenizer, b) == ["B", "▁B"]


def test_a_byte_counts_only_where_there_is_no_piece() -> None:
    both = sentencepiece("▁", "A", "<0x41>", "B", "<0x42>")
    assert [pieces(both, tokens) for tokens in letter_tokens(both)] == [["A"], ["B"]]
    bytes_alone = sentencepiece("▁", "<0x41>", "<0x42>")
    assert [pieces(bytes_alone, t) for t in letter_tokens(bytes_alone)] == [["<0x41>"], ["<0x42>"]]


def test_pieces_of_bytes(tokenizer: Any) -> None:
    own = copy.deepcopy(tokenizer)
    own.add_tokens(["Ａ", " A", "\nB"])
    a, b = letter_tokens(own)
    assert sorted(map(own.decode, a)) == [" A", "A", "Ａ"]
    assert sorted(map(own.decode, b)) == ["\nB", "B"]


def test_full_width_letters_in_bytes() -> None:
    core = Tokenizer(models.BPE(vocab={"A": 0, "ĠB": 1, "ï¼¡": 2, "ï": 3, "Ġï¼¢": 4}, merges=[]))
    core.decoder = decoders.ByteLevel()
    assert letter_tokens(PreTrainedTokenizerFast(tokenizer_object=core)) == ((0, 2), (1, 4))


def test_special_tokens_are_no_answers() -> None:
    tokenizer = sentencepiece("A", "B")
    tokenizer.add_special_tokens({"additional_special_tokens": ["▁A", "▁B"]})
    assert [pieces(tokenizer, tokens) for tokens in letter_tokens(tokenizer)] == [["A"], ["B"]]


def test_no_letter_is_refused() -> None:
    with pytest.raises(UserError, match="no single token for 'B'"):
        letter_tokens(sentencepiece("A", "C", "AB"))


def test_a_large_vocabulary_takes_a_moment() -> None:
    """A bound against accidents, far above what it takes: all pieces decoded take a minute."""
    tokenizer = sentencepiece("A", "B", *(f"▁{n:x}" for n in range(256_000)))
    began = time.process_time()
    letter_tokens(tokenizer)
    assert time.process_time() - began < 20
