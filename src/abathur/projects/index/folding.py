"""How text is taken apart into words: in the same way in a file and in a query, on every engine.

A word is a run of letters and digits, in lower case, without accents. Everything else separates words,
the underscore as well, so `read_file` is two words. Chinese and Japanese characters, which stand without
spaces, are a word each. For ASCII both engines do this by themselves; any other text is folded here,
because what they make of it depends on their versions, and on the server's locale.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_ACCENTS: Final = re.compile("[\u0300-\u036f]+")
_ALONE: Final = re.compile(
    "([\u2e80-\u2fdf\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])"
)
_BETWEEN: Final = re.compile(r"[\W_]+")


def fold(text: str) -> str:
    """The words of a text, with a space between them."""
    if not text.isascii():
        text = _ACCENTS.sub("", unicodedata.normalize("NFKD", text).casefold())
        text = _ALONE.sub(r" \1 ", unicodedata.normalize("NFKC", text))
    return _BETWEEN.sub(" ", text.lower()).strip()


def folded(text: str) -> str | None:
    """The words of a text that an engine cannot fold by itself; None for ASCII."""
    return None if text.isascii() else fold(text)
