"""Which tokens count, by hand, with small tokenizers of the real kind."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vxdist.corpus import ActivationItem
from vxdist.errors import UserError
from vxdist.plan import TokenizedStory, fit_stories, tokenize_stories

pytest.importorskip("transformers", reason="tokenizers come with the extra `run`")
WORDS = ("I", "found", "a", "purse", "gave", "it", "back", "because", "of", "her", ".")


def make_item(
    dilemma: str = "I found a purse .", choice: str = "gave it", rationale: str = "because of her ."
) -> ActivationItem:
    """A story of 5 + 2 + 4 words."""
    return ActivationItem(
        id="s1", pair="p1", value="calm", language="en", stance="aligned",
        dilemma=dilemma, choice=choice, rationale=rationale,
    )  # fmt: skip


def make_named(name: str, *, n: int, choice: str = "gave it") -> ActivationItem:
    """The story NAMEn."""
    item = make_item(choice=choice)
    return dataclasses.replace(item, id=f"{name}{n}", pair=f"{name}{n}")


def wrap(core: Any, **named: str) -> Any:
    """A fast tokenizer that puts <s> and </s> around each text."""
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    around = [(name, core.token_to_id(name)) for name in ("<s>", "</s>")]
    core.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=around)
    return PreTrainedTokenizerFast(tokenizer_object=core, **named)


def word_tokenizer(**named: str) -> Any:
    """One token a word; <tool> is special too, but has no role."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    special = ["<s>", "</s>", "<unk>", "<pad>", "<tool>"]
    vocabulary = {word: n for n, word in enumerate([*special, *WORDS])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens(special)
    return wrap(core, **named)


def byte_tokenizer(merges: Sequence[tuple[str, str]] = (), **named: str) -> Any:
    """One token a byte, but for `merges`; never an unknown token. It knows Ċ as the line end."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<s>", "</s>", *alphabet, *(a + b for a, b in merges)]
    vocabulary = {token: n for n, token in enumerate(tokens)}
    core = Tokenizer(models.BPE(vocabulary, list(merges)))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<s>", "</s>"])
    return wrap(core, **named)


NAMED = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


@pytest.fixture(scope="module")
def words() -> Any:
    """The word tokenizer with the usual roles."""
    return word_tokenizer(**NAMED)


def read(tokenizer: Any, item: ActivationItem, span: Any = "all") -> TokenizedStory:
    """One story tokenised."""
    (story,) = tokenize_stories([item], tokenizer, span=span)
    return story


class TestWords:
    def test_by_hand(self, words: Any) -> None:
        story = read(words, make_item())
        assert len(story.token_ids_T) == 13
        assert story.counted_T.tolist() == [False] + [True] * 11 + [False]
        assert story.counted == 11
        assert (story.token_ids_T[0], story.token_ids_T[-1]) == (0, 1)
        assert story.token_ids_T.dtype == np.dtype("int32")

    def test_response_counts_choice_and_rationale(self, words: Any) -> None:
        story = read(words, make_item(), "response")
        assert story.counted_T.tolist() == [False] * 6 + [True] * 6 + [False]

    def test_labels_are_kept(self, words: Any) -> None:
        story = read(words, make_item())
        labels = (story.id, story.value, story.language, story.stance)
        assert labels == ("s1", "calm", "en", "aligned")

    def test_an_unknown_word_is_text_and_counts(self, words: Any) -> None:
        story = read(words, make_item(choice="hurled it"), "all")
        assert story.counted == 11
        assert 2 in story.token_ids_T[story.counted_T]

    @settings(max_examples=40, deadline=None)
    @given(
        texts=st.lists(
            st.tuples(*(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6),) * 3),
            min_size=1,
            max_size=5,
        )
    )
    def test_every_word_counts_once_alone_or_among_others(
        self, words: Any, texts: list[tuple[list[str], ...]]
    ) -> None:
        items = [make_item(*(" ".join(part) for part in parts)) for parts in texts]
        for span, first in (("all", 0), ("response", 1)):
            stories = tokenize_stories(items, words, span=span)  # type: ignore[arg-type]
            for story, item, parts in zip(stories, items, texts, strict=True):
                assert story.counted == sum(len(part) for part in parts[first:])
                alone = read(words, item, span)
                np.testing.assert_array_equal(story.token_ids_T, alone.token_ids_T)
                np.testing.assert_array_equal(story.counted_T, alone.counted_T)


class TestBytes:
    def test_tokens_that_reach_into_the_response_count(self) -> None:
        r"""The token "\n\nI" begins before the choice and ends within it; "\n\n" does not."""
        plain = byte_tokenizer(bos_token="<s>", eos_token="</s>")
        joined = byte_tokenizer(
            [("Ċ", "Ċ"), ("ĊĊ", "I")], bos_token="<s>", eos_token="</s>"
        )  # fmt: skip
        item = make_item("Well.", "I go", "So")
        assert read(plain, item, "all").counted == 5 + 2 + 4 + 2 + 2
        assert read(plain, item, "response").counted == 4 + 2 + 2
        # Both separators shrink to a token, the first one with the I.
        assert read(joined, item, "all").counted == 5 + 1 + 3 + 1 + 2
        assert read(joined, item, "response").counted == 1 + 3 + 1 + 2
        # A token that ends with the separator does not reach in.
        other = make_item("Well.", "We go", "So")
        assert read(joined, other, "response").counted == 5 + 1 + 2

    def test_every_byte_of_chinese_counts(self) -> None:
        plain = byte_tokenizer(bos_token="<s>", eos_token="</s>")
        item = make_item("我捡到钱包。", "交还。", "安心")
        assert read(plain, item, "all").counted == 3 * (6 + 3 + 2) + 4
        assert read(plain, item, "response").counted == 3 * (3 + 2) + 2


class TestSpecialTokens:
    @pytest.mark.parametrize("literal", ["<s>", "</s>", "<pad>"])
    def test_a_literal_one_in_the_text_does_not_count(self, words: Any, literal: str) -> None:
        story = read(words, make_item(rationale=f"because {literal} of her ."))
        assert len(story.token_ids_T) == 14
        assert story.counted == 11
        assert not story.counted_T[story.token_ids_T == words.convert_tokens_to_ids(literal)].any()

    def test_nor_one_that_has_no_role(self, words: Any) -> None:
        """Such as <|start_header_id|> of Llama 3, special in tokenizer.json but not named."""
        story = read(words, make_item(rationale="because <tool> of her ."))
        assert len(story.token_ids_T) == 14
        assert story.counted == 11

    def test_nor_one_that_is_the_unknown_token_too(self) -> None:
        """GPT-2, and SmolLM2, name <|endoftext|> their unknown token, and never need one."""
        tokenizer = byte_tokenizer(bos_token="<s>", eos_token="</s>", unk_token="</s>")
        story = read(tokenizer, make_item("No.", "Go", "So</s>so"))
        assert len(story.token_ids_T) == 1 + 3 + 2 + 2 + 2 + 8 + 1
        assert story.counted == 3 + 2 + 2 + 2 + 8, "</s> is text there"

    @pytest.mark.parametrize("literal", ["<s>", "</s>", "<tool>"])
    def test_a_text_cannot_spell_one(self, literal: str) -> None:
        """It is read as the characters that it is; those around the text are added as ever."""
        tokenizer = byte_tokenizer(bos_token="<s>", eos_token="</s>")
        tokenizer.add_special_tokens({"additional_special_tokens": ["<tool>"]})
        assert len(tokenizer(literal).input_ids) == 3, "it would be one token"
        story = read(tokenizer, make_item("No.", "Go", f"So{literal}so"))
        assert story.counted == 3 + 2 + 2 + 2 + 4 + len(literal)
        assert story.counted_T.tolist() == [False] + [True] * story.counted + [False]
        plain = read(tokenizer, make_item("No.", "Go", "Soso"))
        assert plain.token_ids_T[[0, -1]].tolist() == story.token_ids_T[[0, -1]].tolist() == [0, 1]

    def test_a_tokenizer_that_adds_none(self) -> None:
        from tokenizers.processors import TemplateProcessing

        tokenizer = word_tokenizer(**NAMED)
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A")
        assert read(tokenizer, make_item()).counted_T.all()


class TestRefusals:
    @staticmethod
    def fit(words: Any, too_long: Any, *items: ActivationItem) -> Sequence[str]:
        """Ids of the stories that are kept of these, with a limit of 12 tokens."""
        stories = tokenize_stories(items, words, span="all")
        kept = fit_stories(stories, max_length=12, too_long=too_long)
        assert fit_stories(stories, max_length=None, too_long=too_long) == stories
        return [story.id for story in kept]

    def test_too_long(self, words: Any) -> None:
        short = [make_named("a", choice="gave", n=n) for n in range(3)]
        long = [make_named("b", n=n) for n in range(7)]
        assert self.fit(words, "refuse", *short) == ["a0", "a1", "a2"]
        with pytest.raises(UserError, match=r"^story b0 has 13 tokens, .*limit of 12; .*leave_out"):
            self.fit(words, "refuse", *short, long[0])
        named = r"^7 stories \(b0, b1, b2, b3, b4 and 2 more\) have up to 13 tokens"
        with pytest.raises(UserError, match=named):
            self.fit(words, "refuse", *short, *long)

    def test_a_dilemma_is_left_out_whole(self, words: Any) -> None:
        told = [
            make_named("a", choice="gave", n=0), make_named("a", choice="gave", n=1),
            make_named("b", choice="gave", n=0), make_named("b", choice="gave it", n=1),
        ]  # fmt: skip
        items = [
            dataclasses.replace(item, language=language, pair=item.id[0])
            for item, language in zip(told, ("en", "zh", "en", "zh"), strict=True)
        ]
        assert self.fit(words, "leave_out", *items) == ["a0", "a1"]
        with pytest.raises(UserError, match=r"no story of calm/en/aligned is left"):
            self.fit(words, "leave_out", *items[2:])

    def test_nothing_to_count(self, words: Any) -> None:
        item = make_item(choice="<s>", rationale="</s>")
        assert read(words, item).counted == 5
        with pytest.raises(UserError, match=r"story s1 has no token to count .*response"):
            read(words, item, "response")

    def test_a_slow_tokenizer(self) -> None:
        class Slow:
            is_fast = False

        with pytest.raises(UserError, match="not a fast tokenizer"):
            tokenize_stories([make_item()], Slow(), span="all")  # type: ignore[arg-type]
