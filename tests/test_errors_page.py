"""docs/errors.md has every error, with the message that is really raised, and the hierarchy as it is."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from abathur import AbathurError, errors
from tests import provoked_by_nats, provoked_projects  # noqa: F401  # they add to PROVOCATIONS
from tests.documents import ROOT, blocks, parse
from tests.provoked import PROVOCATIONS
from tests.provoked_on_server import ON_SERVER

PAGE = ROOT / "docs" / "errors.md"
CLASSES = [getattr(errors, name) for name in errors.__all__]
BASES = [kind for kind in CLASSES if any(kind in other.__bases__ for other in CLASSES)]
RAISED = [kind for kind in CLASSES if kind not in BASES or kind.__name__ in PROVOCATIONS]
AT_HOME = [kind for kind in RAISED if kind.__name__ not in ON_SERVER]


def sections() -> dict[str, str]:
    """{heading: what is below it}, for headings of every level."""
    parts = re.split(r"^#+ (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def plain(message: str) -> str:
    """A message without what differs from one time to the next: ids, numbers."""
    message = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>", message)
    return re.sub(r"\d+(?:[.,]\d+)*", "0", message)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_has_its_section(kind):
    section = sections().get(kind.__name__)
    assert section is not None, f"docs/errors.md has no section {kind.__name__}"
    if kind in RAISED:
        for words in ("```text\n", "**Do:**", "**The database:**"):
            assert words in section, f"the section {kind.__name__} of docs/errors.md lacks {words.strip()}"


def test_no_section_is_about_an_error_that_does_not_exist():
    assert {name for name in sections() if name.endswith("Error")} == set(errors.__all__)


@pytest.mark.parametrize("kind", AT_HOME, ids=lambda kind: kind.__name__)
async def test_its_section_has_the_message_that_is_raised_and_what_the_error_carries(kind, tmp_path):
    assert kind.__name__ in PROVOCATIONS, f"tests/provoked.py does not raise {kind.__name__}"
    with pytest.raises(AbathurError) as caught:
        await PROVOCATIONS[kind.__name__](tmp_path)
    compare(kind, caught.value, str(tmp_path))


@pytest.mark.parametrize("name", ON_SERVER)
async def test_so_has_that_of_an_error_of_a_server(name, postgres_url):
    with pytest.raises(AbathurError) as caught:
        await ON_SERVER[name](postgres_url)
    compare(getattr(errors, name), caught.value, postgres_url)


def compare(kind, error, directory):
    assert type(error) is kind
    section = sections()[kind.__name__]
    message = str(error).replace(directory, "/srv/agents")
    examples = [block.text for block in parse(PAGE, section) if block.language == "text"]
    assert plain(message) in [plain(example.strip()) for example in examples], message
    carried = vars(error).keys() - {"problem", "expected", "remedy"}
    attributes = section.partition("**Attributes:**")[2]
    assert {name for name in carried if f"`{name}`" not in attributes} == set()


# ----------------------------------------------------------------------------------- the hierarchy

LINE = re.compile(r"^(?P<indent>(?:[│ ] {3})*)(?:[├└]── )?(?P<name>\w+Error)(?: \((?P<builtin>\w+)\))?")


def drawn(tree: str) -> dict[str, tuple[str | None, str | None]]:
    """{class: (the class above it, the built-in in parentheses)} of a drawn tree."""
    found: dict[str, tuple[str | None, str | None]] = {}
    above: list[str] = []
    for line in filter(str.strip, tree.splitlines()):
        match = LINE.match(line)
        assert match, f"not a line of the tree: {line!r}"
        depth = len(match["indent"]) // 4 + ("── " in line)
        del above[depth:]
        found[match["name"]] = (above[-1] if above else None, match["builtin"])
        above.append(match["name"])
    return found


def real() -> dict[str, tuple[str | None, str | None]]:
    found = {}
    for kind in CLASSES:
        ours = [base.__name__ for base in kind.__bases__ if base in CLASSES]
        builtin = [base.__name__ for base in kind.__bases__ if base not in CLASSES]
        found[kind.__name__] = (ours[0] if ours else None, builtin[0] if ours and builtin else None)
    return found


def test_the_hierarchy_on_the_page_is_the_real_one():
    (tree,) = [block.text for block in blocks(PAGE) if block.text.startswith("AbathurError\n")]
    assert drawn(tree) == real()


def test_the_hierarchy_in_the_module_is_the_real_one():
    module = importlib.import_module("abathur.errors")
    lines = [line.removeprefix("    ") for line in (module.__doc__ or "").splitlines() if "Error" in line]
    tree = [line for line in lines if line.startswith(("AbathurError", "├", "└", "│", " "))]
    assert drawn("\n".join(tree)) == real()


def test_the_example_paths_are_no_path_of_this_machine():
    text = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"(?<![\w`])(/[a-z]+/[a-z]+)/", text)) <= {"/srv/agents"}
    assert str(Path.home()) not in text
