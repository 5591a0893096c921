"""Text in chunks, words of a text and of a query, and the lines that are shown of a hit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abathur.errors import InvalidInputError
from abathur.projects.index import chunks as chunking
from abathur.projects.index.chunks import chunks
from abathur.projects.index.folding import fold, folded
from abathur.projects.index.query import LONGEST, Part, parse
from abathur.projects.index.snippets import snippet

LINES = st.lists(
    st.one_of(
        st.text(alphabet="ab é\r\x0b\u2028日", max_size=30),
        st.just(""),
        st.integers(0, 5_000).map(lambda n: "x" * n),
    ),
    max_size=120,
).map("\n".join)


# -- chunks ----------------------------------------------------------------------------------------


@given(LINES)
def test_the_chunks_one_after_the_other_are_the_text(text):
    made = chunks(text)
    assert "".join(one.body for one in made) == text
    assert all(0 < len(one.body) <= chunking.MOST for one in made)


@given(LINES)
def test_a_chunk_knows_its_lines(text):
    lines = text.split("\n")
    for one in chunks(text):
        assert 1 <= one.first_line <= one.last_line <= len(lines)
        inside = "\n".join(lines[one.first_line - 1 : one.last_line]) + "\n"
        assert one.body in inside
        assert one.body.removesuffix("\n").count("\n") == one.last_line - one.first_line


def test_a_chunk_ends_at_an_empty_line_if_there_is_one_in_time():
    block = "x" * 70 + "\n"
    made = chunks((block * 16 + "\n") * 3)
    assert [one.first_line for one in made] == [1, 17, 34, 51]
    assert made[1].body.startswith("\n")


def test_an_empty_text_has_no_chunks_and_a_last_line_needs_no_end():
    assert chunks("") == []
    assert [one.last_line for one in chunks("a\nb")] == [2]
    assert [one.last_line for one in chunks("a\nb\n")] == [2]


# -- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Read_File(path)", "read file path"),
        ("v1.2-rc3", "v1 2 rc3"),
        ("naïve Größe ÉCOLE", "naive grosse ecole"),
        ("İstanbul ﬁle ２０２４", "istanbul file 2024"),
        ("データベース", "デ ー タ ベ ー ス"),
        ("全文検索 is", "全 文 検 索 is"),
        ("한국어 검색", "한국어 검색"),
        ("Привет, мир", "привет мир"),
        ("… — !", ""),
        ("a\u0301b a\u200bb", "ab a b"),
    ],
)
def test_a_text_becomes_words(text, words):
    assert fold(text) == words


@given(st.text(max_size=200))
def test_words_of_words_are_the_same_and_signs_are_gone(text):
    once = fold(text)
    assert fold(once) == once
    assert all(character.isalnum() or character == " " for character in once)
    assert (folded(text) is None) == text.isascii()


# -- queries ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("lease expired", [Part(("lease",)), Part(("expired",))]),
        ('"lease expired" soon', [Part(("lease", "expired")), Part(("soon",))]),
        ("expir*", [Part(("expir",), is_prefix=True)]),
        ('"lease expir"* x', [Part(("lease", "expir"), is_prefix=True), Part(("x",))]),
        ("read_file*", [Part(("read", "file"), is_prefix=True)]),
        ('never "closed quote', [Part(("never",)), Part(("closed", "quote"))]),
        ("a AND NOT b OR (c) NEAR/2 d", [*(Part((word,)) for word in "a and not b or".split()), Part(("c",)),
                                         Part(("near", "2")), Part(("d",))]),
        ("twice twice Twice", [Part(("twice",))]),
        ("--json", [Part(("json",))]),
        ("terms : -x ^y {z} 'q'; DROP TABLE index_chunks", None),
        ("col:value", [Part(("col", "value"))]),
        ("*prefix", [Part(("prefix",))]),
        ('""', "nothing"), ("", "nothing"), (" \n", "nothing"), ("***", "nothing"), ('"" * -- ()', "nothing"),
    ],
)  # fmt: skip
def test_a_query_is_words_phrases_and_beginnings(text, parts):
    if parts == "nothing":
        with pytest.raises(InvalidInputError):
            parse(text)
    elif parts is not None:
        assert list(parse(text).parts) == parts
    else:
        assert len(parse(text).parts) == 8


def test_the_query_of_an_engine_quotes_every_word():
    asked = parse('big "lease expir"* x*')
    assert asked.fts5 == '"big" AND "lease expir"* AND "x"*'
    assert asked.tsquery == "('big') & ('lease' <-> 'expir':*) & ('x':*)"


@given(st.text(max_size=100))
def test_no_text_is_a_wrong_query_if_it_has_a_word(text):
    if "\0" in text:
        return
    try:
        asked = parse(text)
    except InvalidInputError:
        assert not fold(text)
    else:
        assert set(asked.fts5) - set('"* AND') <= set(fold(text))


def test_a_query_is_short():
    parse("x" * LONGEST)
    for wrong in ("x" * (LONGEST + 1), "nul \0", None, 7):
        with pytest.raises(InvalidInputError):
            parse(wrong)


# -- snippets --------------------------------------------------------------------------------------


def test_a_snippet_begins_with_the_lines_that_have_the_most():
    body = "one\ntwo lease\nthree\nfour\nfive lease expired\nsix\nseven\n"
    shown = snippet(parse("lease expired"), body, 100)
    assert (shown.line, shown.text) == (104, "five lease expired\nsix\nseven")
    shown = snippet(parse('"two lease"'), body, 1)
    assert (shown.line, shown.text) == (2, "two lease\nthree\nfour")
    shown = snippet(parse("seve*"), body, 1)
    assert shown.text.endswith("seven")


def test_a_snippet_of_a_file_that_was_found_by_its_path_is_its_beginning():
    assert snippet(parse("runner"), "\n\nimport x\n", 1).line == 3
    assert snippet(parse("runner"), "\n", 7).line == 7


def test_a_long_line_is_cut_around_the_word():
    shown = snippet(parse("needle"), "x " * 1_000 + "needle" + " y" * 1_000, 1)
    assert "needle" in shown.text
    assert len(shown.text) < 250
