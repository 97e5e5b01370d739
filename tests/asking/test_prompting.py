"""What the model reads: chat template, system text, the answer's beginning, dates, quoted texts."""

import copy
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from tokenizers import AddedToken

from vxdist.asking.outcomes.choice import Choice, ChoiceSettings
from vxdist.asking.prompting import Prompter, Today
from vxdist.config import EvaluateConfig
from vxdist.corpus import EvaluationItem
from vxdist.errors import UserError

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING = CHATML.replace(
    "assistant\n",
    "assistant\n<think>\n{% if enable_thinking is false %}\n</think>\n\n{% endif %}",
)
LLAMA = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m.role }}<|end|>\n\n{{ m.content | trim }}"
    "<|eot|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}"
)
CLOCK = "{{ strftime_now('%Y-%m-%d %H:%M') }} {{ messages[0].content }}"
LLAMA_CLOCK = (
    "{% if not date_string is defined %}{% set date_string = '26 Jul 2024' %}{% endif %}"
    "{{ date_string }} {{ messages[0].content }}"
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "[{{ messages[0].content }}]"
)
DAY = date(2026, 1, 31)
Make = Callable[..., Prompter]


@pytest.fixture
def make(tokenizer: Any) -> Make:
    """A prompter with a chat template; its tokenizer has control tokens, one not marked special."""
    own = copy.deepcopy(tokenizer)
    names = ("<|im_start|>", "<|im_end|>", "<|start|>", "<|end|>", "<|eot|>")
    own.add_tokens([AddedToken(name, special=True) for name in names])
    own.add_tokens([AddedToken("</think>", special=False), AddedToken("<think>", special=False)])

    def with_template(
        chat_template: str | None,
        /,
        *,
        day: date = date(2026, 1, 31),
        given: bool = False,
        **settings: Any,
    ) -> Prompter:
        own.chat_template = chat_template
        return Prompter(own, EvaluateConfig(**settings), Today(date=day, given=given))

    return with_template


def shown(prompter: Prompter, text: str = "Keep it?", **settings: Any) -> str:
    """A prompt as the model reads it."""
    return prompter.show(prompter.encode(text, "en", **settings))


def item(dilemma: str, aligned: str = "No.") -> EvaluationItem:
    return EvaluationItem(
        id="x", pair="x", value="v", language="en", dilemma=dilemma, aligned=aligned,
        violating="Yes.",
    )  # fmt: skip


def test_special_tokens_stand_once(make: Make) -> None:
    assert shown(make(LLAMA)) == (
        "<s><|start|>user<|end|>\n\nKeep it?<|eot|><|start|>assistant<|end|>\n\n"
    )
    assert shown(make(None), cue=" So:") == "<s>Keep it? So:"


def test_without_the_chat_template(make: Make) -> None:
    assert shown(make(CHATML, chat="never")) == "<s>Keep it?"


def test_system_text_and_beginning_of_the_answer(make: Make) -> None:
    assert shown(make(CHATML, system="Answer.", answer_prefix="My choice: ")) == (
        "<|im_start|>system\nAnswer.<|im_end|>\n<|im_start|>user\nKeep it?<|im_end|>\n"
        "<|im_start|>assistant\nMy choice: "
    )
    assert shown(make(None, answer_prefix={"en": " (", "zh": "("})) == "<s>Keep it? ("
    with pytest.raises(UserError, match="answer_prefix: none for language 'en'"):
        shown(make(None, answer_prefix={"zh": "("}))


def test_a_template_that_needs_a_system_text(make: Make) -> None:
    needs = "{% if messages[0].role != 'system' %}{{ raise_exception('no system') }}{% endif %}"
    with pytest.raises(UserError, match=r"no system\); give it what it needs with evaluate.system"):
        shown(make(needs + CHATML))
    assert shown(make(needs + CHATML, system="Be kind.")) == shown(make(CHATML, system="Be kind."))


def test_a_model_that_thinks(make: Make) -> None:
    assert shown(make(THINKING)).endswith("<think>\n")
    closed = "<|im_start|>assistant\n<think>\n</think>\n\n"
    assert shown(make(THINKING, template={"enable_thinking": False})).endswith(closed)
    by_prefix = make(THINKING, answer_prefix="</think>\n\n")
    assert shown(by_prefix).endswith(closed)
    by_template = make(THINKING, template={"enable_thinking": False})
    ids_T = by_template.encode("Keep it?", "en")
    assert by_prefix.encode("Keep it?", "en").tolist() == ids_T.tolist()  # a token, not its text
    assert (
        make(THINKING).remedies()[0] == "evaluate.template {enable_thinking: false} (no thinking)"
    )
    assert not any("template {" in remedy for remedy in make(CHATML).remedies())


@pytest.mark.parametrize(
    ("template", "settings", "message"),
    [
        ("{{ raise_exception('System message required') }}", {}, "System message required"),
        ("{% for m in %}", {}, "TemplateSyntaxError"),
        ("{{ messages[0].nothing.more }}", {}, "UndefinedError"),
        ("{{ 1 // 0 }}", {}, "ZeroDivisionError"),
        ("{{ messages[0].__class__.__mro__ }}", {}, "evaluate.chat never"),
        ("Hello.", {}, "leaves out the question"),
        (NO_SYSTEM, {"system": "Be kind."}, r"evaluate.system: .* no system text .*omit it"),
        (
            "[{{ messages[-1].content }}]",
            {"system": "Be kind."},
            "evaluate.system: .*leaves it out",
        ),
        (CHATML, {"template": {"enable_thinking": False}}, "does not use 'enable_thinking'"),
        (CHATML, {"template": {"a": 1}}, "does not use 'a'; it uses no arguments"),
        (THINKING, {"template": {"a": 1}}, "does not use 'a'; it uses enable_thinking"),
        (CHATML, {"template": {"tokenize": True}}, "evaluate.template: tokenize is set by vxdist"),
        (CHATML, {"template": {"messages": []}}, "evaluate.template: messages is set by vxdist"),
        (None, {"system": "Be kind."}, "evaluate.system: it needs a chat template"),
        (CHATML, {"template": {"a": 1}, "chat": "never"}, "evaluate.template: .*chat is never"),
    ],
)
def test_templates_that_fail(
    make: Make, template: str | None, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        shown(make(template, **settings))
    assert "\n" not in str(refusal.value)


def test_a_template_sees_a_fixed_date(make: Make) -> None:
    assert shown(make(CLOCK)) == "2026-01-31 00:00 Keep it?"
    assert shown(make(CLOCK, day=date(2025, 2, 1), given=True)) == "2025-02-01 00:00 Keep it?"
    assert shown(make(LLAMA_CLOCK)) == "26 Jul 2024 Keep it?"  # its own default
    assert shown(make(LLAMA_CLOCK, given=True)) == "31 Jan 2026 Keep it?"
    own = {"date_string": "1 May 2020"}
    assert shown(make(LLAMA_CLOCK, given=True, template=own)) == "1 May 2020 Keep it?"


@pytest.mark.parametrize("template", [CHATML, LLAMA, None])
def test_plain_texts_are_encoded_as_ever(make: Make, template: str | None) -> None:
    prompter = make(template)
    text = "  Keep it, 第3天?\n\nA. a  "
    whole = text if template is None else prompter._render(text)
    expected = prompter.tokenizer(whole, add_special_tokens=template is None)["input_ids"]
    assert prompter.encode(text, "en", quoted=[text]).tolist() == expected


@pytest.mark.parametrize("template", [CHATML, LLAMA, None])
@pytest.mark.parametrize("control", ["<|im_end|>", "<|eot|>", "<|im_start|>user", "</s>", "<s>"])
def test_a_dilemma_writes_no_control_tokens(make: Make, template: str | None, control: str) -> None:
    prompter = make(template)
    dilemma = f"I found {control} a purse.{control}"
    usual, odd = (
        Choice(ChoiceSettings()).ask([item(text, control)], prompter, None)[0].token_ids_T.tolist()
        for text in ("I found a purse.", dilemma)
    )
    special = {i for i, t in prompter.tokenizer.added_tokens_decoder.items() if t.special}
    plain = Choice(ChoiceSettings()).ask([item("I found a purse.")], prompter, None)[0]
    controls = [token for token in plain.token_ids_T.tolist() if token in special]
    assert [token for token in usual if token in special] == controls
    assert [token for token in odd if token in special] == controls
    assert prompter.tokenizer.decode(odd).count(dilemma) == 1


def test_a_token_that_is_not_marked_special(make: Make) -> None:
    prompter = make(THINKING)
    thought = prompter.tokenizer.convert_tokens_to_ids("</think>")
    dilemma = "She wrote </think> on the wall."
    ids_T = Choice(ChoiceSettings()).ask([item(dilemma)], prompter, None)[0].token_ids_T
    assert thought not in ids_T
    assert dilemma in prompter.show(ids_T)


def test_a_prompt_of_the_user_may_write_control_tokens(make: Make) -> None:
    prompter = make(CHATML, chat="never")
    own = ChoiceSettings(prompts={"en": "<|im_start|>{dilemma}<|im_end|>{a}{b}"}, cues={"en": ""})
    ids_T = Choice(own).ask([item("A <|im_end|> purse.")], prompter, None)[0].token_ids_T
    end = prompter.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert ids_T.tolist().count(end) == 1


def test_braces_of_a_prompt_stay(prompter: Prompter) -> None:
    asked = 'Reply {"choice": "A"} or {} {0} {{x}} {dilemma!r}: {dilemma} {a} {b}'
    settings = ChoiceSettings(prompts={"en": asked})
    texts = Choice(settings).prompts(item("What of {a} and {b}?", "{dilemma}"))
    assert texts[0] == (
        'Reply {"choice": "A"} or {} {0} {{x}} {dilemma!r}: What of {a} and {b}? {dilemma} Yes.'
    )
