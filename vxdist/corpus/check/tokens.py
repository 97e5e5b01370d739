"""Control tokens of chat models that a text spells out, such as <|im_end|>."""

import re

from vxdist.corpus.check.findings import Checked, Finding
from vxdist.corpus.check.text import Items, text_fields

CONTROL_TOKEN = re.compile(
    r"<\|[^\s<>|]{1,40}\|>"  # <|im_end|>, <|endoftext|>, <|eot_id|>
    r"|<｜[^<>｜]{1,40}｜>"  # DeepSeek's, with full-width bars
    r"|</?s>|\[/?INST\]|<</?SYS>>"  # Llama 2, Mistral
    r"|<(?:start|end)_of_(?:turn|image|text)>"  # Gemma
    r"|<\|?turn\|?>|<\|?channel\|?>"  # Gemma 4
    r"|<(?:bos|eos|pad|unk|mask|cls|sep)>|<(?:BOS|EOS|PAD|UNK)_TOKEN>"
    r"|<\|?(?:START|END)_OF_TURN_TOKEN\|?>"  # Command R
    r"|\[(?:BOS|EOS|PAD|UNK|CLS|SEP|MASK|gMASK|sMASK|TOOL_CALLS|AVAILABLE_TOOLS|SYSTEM_PROMPT)\]"
    r"|</?(?:think|tool_call|tool_response)>"  # Qwen, DeepSeek
    r"|<unused\d+>|<extra_id_\d+>"
)


def check_tokens(items: Items) -> Checked:
    """Warn of texts that spell a control token: they are probably a transcript, badly cut."""
    findings = []
    for item in items:
        for name, text in text_fields(item):
            spelled = [*dict.fromkeys(CONTROL_TOKEN.findall(text))]
            if spelled:
                findings.append(
                    Finding(
                        level="warning",
                        kind="token",
                        message=f"{item.id}: {name} spells {', '.join(spelled)}, control tokens "
                        "of some chat models; they are no part of a dilemma: remove them",
                        weight=len(spelled),
                        items=(item.id,),
                    )
                )
    return Checked(findings=findings)
