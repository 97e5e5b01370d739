"""Text from files and stores, made safe to print."""

import re

# C0 and C1 controls, directional overrides, line separators, and lone surrogates.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: object) -> str:
    """`text` on one line, without what a terminal would obey or could not show."""
    return UNSAFE.sub("", re.sub(r"[\t\n\r\u2028\u2029]+", " ", str(text)))
