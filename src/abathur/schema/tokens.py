"""SQL split into tokens, so that two statements can be compared and one can be edited by its parts."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["word", "quoted", "string", "number", "other"]

_TOKEN: Final = re.compile(
    r"""
      (?P<space>   \s+ | --[^\n]* | /\*.*?(?:\*/|\Z) )
    | (?P<string>  [xX]?'(?:[^']|'')*' )
    | (?P<quoted>  "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\] )
    | (?P<number>  0[xX][0-9a-fA-F]+ | (?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)? )
    | (?P<word>    [^\W\d][\w$]* )
    | (?P<other>   \|\| | ->>? | <> | <= | >= | != | == | << | >> | [:@$?][\w$]* | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_PLAIN: Final = re.compile(r"[^\W\d][\w$]*")
_SAME: Final = {"==": "=", "!=": "<>"}


class Token(NamedTuple):
    """One token; `text[start:end]` is how it is written, `key` is what it is compared by."""

    kind: Kind
    key: str
    start: int
    end: int

    def is_word(self, *keys: str) -> bool:
        """Whether this is one of these keywords, written without quotes."""
        return self.kind == "word" and self.key in keys


@lru_cache(maxsize=2048)
def tokenize(sql: str) -> tuple[Token, ...]:
    """The tokens of a statement, without its white space and comments."""
    tokens = []
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup
        if kind != "space":
            key = _key(kind, match[0])  # type: ignore[arg-type]  # the pattern's groups are the kinds
            tokens.append(Token(kind, key, match.start(), match.end()))  # type: ignore[arg-type]
    return tuple(tokens)


def _key(kind: Kind, text: str) -> str:
    if kind == "word":
        return text.lower()
    if kind == "quoted":
        name = unquoted(text)
        return name.lower() if _PLAIN.fullmatch(name) else f'"{name}"'
    if kind == "number":
        return text.lower()
    return _SAME.get(text, text)


def unquoted(text: str) -> str:
    """An identifier without its quotes."""
    first = text[:1]
    if first in ('"', "`"):
        return text[1:-1].replace(first * 2, first)
    return text[1:-1] if first == "[" else text


@lru_cache(maxsize=2048)
def keys(sql: str) -> tuple[str, ...]:
    """What a statement is compared by: case, quotes, spaces, IF NOT EXISTS and a last ``;`` do not count."""
    found = [token.key for token in tokenize(sql)]
    while found and found[-1] == ";":
        found.pop()
    if found[:1] == ["create"]:
        # Only in the head, before the name: deeper down the three words are an expression.
        for at in range(2, 4):
            if found[at : at + 3] == ["if", "not", "exists"]:
                del found[at : at + 3]
    return tuple(found)


def tokens_equal(one: str, other: str) -> bool:
    """Whether two statements say the same."""
    return one == other or keys(one) == keys(other)


def contains(sql: str, part: str) -> bool:
    """Whether the tokens of `part` stand in `sql`, one after the other."""
    whole, wanted = keys(sql), keys(part)
    return any(whole[at : at + len(wanted)] == wanted for at in range(len(whole) - len(wanted) + 1))
