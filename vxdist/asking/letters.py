"""The tokens that mean a letter."""

from typing import Any

from vxdist.errors import UserError

LETTERS = ("A", "B")
FULL_WIDTH = 0xFEE0
"""Distance of a letter from its full-width form, which Chinese texts use: A, Ａ."""
BLANKS = " \t\r\n\u3000▁Ġ"
"""What may come before a letter: white space, and how tokenizers without a decoder spell it."""
LONGEST = 16
"""Characters of the longest piece that is looked at: a letter in three bytes, after blanks."""


def letter_tokens(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens that mean A, and those that mean B.

    These are all pieces of the vocabulary that decode to the letter, bare or full-width, alone or
    after a blank: which of them a model writes depends on what its prompt ends with. Special tokens
    are none of them. Raises UserError if there is no token for a letter.
    """
    special = set(tokenizer.all_special_ids)
    special |= {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    pieces = {i: p for p, i in tokenizer.get_vocab().items() if i not in special}
    first, second = (_find(tokenizer, pieces, letter) for letter in LETTERS)
    return first, second


def _find(tokenizer: Any, pieces: dict[int, str], letter: str) -> tuple[int, ...]:
    forms = (letter, chr(ord(letter) + FULL_WIDTH))
    # Only pieces that spell the letter are decoded: a vocabulary may have 256,000.
    spelled = (*forms, _in_bytes(forms[1]))
    found = [
        i
        for i, piece in pieces.items()
        if len(piece) <= LONGEST and any(form in piece for form in spelled)
        if _decode(tokenizer, i) in forms
    ]
    if not found:
        # A tokenizer writes a byte only where it has no piece for the character, so where it has
        # one, the model has never seen this token, and its probability means nothing.
        found = [i for i, piece in pieces.items() if piece == f"<0x{ord(letter):02X}>"]
    if not found:
        raise UserError(f"model.path: the tokenizer has no single token for {letter!r}")
    return tuple(sorted(found))


def _decode(tokenizer: Any, token: int) -> str:
    text: str = tokenizer.decode(
        [token], skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    return text.lstrip(BLANKS)


def _in_bytes(character: str) -> str:
    """How a byte-level vocabulary spells a character: printable bytes as they are, the others,
    in order, from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return "".join(
        chr(byte if byte in printable else 0x100 + others.index(byte))
        for byte in character.encode()
    )
