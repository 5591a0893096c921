"""The house rules that a machine can check: files, SQL, public names, commands, forbidden things."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from tests import command_reference
from tests.documents import ROOT, Block, blocks, documents, parse

SRC = ROOT / "src" / "abathur"
QUERIES = SRC / "sql" / "queries"
MODULES = sorted(SRC.rglob("*.py"))

MOST_LINES, FEW_LINES = 400, 300

# What an extra brings, and what belongs to a user's tests: none of it may come with `import abathur`.
FOREIGN = {
    "_pytest", "asyncpg", "jinja2", "mcp", "nats", "opentelemetry", "prometheus_client", "psycopg", "pytest",
    "rich", "sqlalchemy", "sqlite_vec", "sqlite_vss", "sse_starlette", "starlette", "uvicorn",
}  # fmt: skip


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT).as_posix()}:{line}"


def none_of(problems: list[str], rule: str) -> None:
    if problems:
        pytest.fail(rule + "\n  " + "\n  ".join(problems), pytrace=False)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def nodes() -> Iterator[tuple[Path, ast.AST]]:
    """Every syntax node of the library with its file."""
    for path in MODULES:
        for node in ast.walk(tree(path)):
            yield path, node


# ----------------------------------------------------------------------------------------- files


def test_no_file_has_more_than_400_lines() -> None:
    files = [*MODULES, *SRC.rglob("*.sql")]
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    long = [f"{place(path, count)} lines" for path, count in sorted(lines.items()) if count > FEW_LINES]
    if long:
        message = f"Files over {FEW_LINES} lines (is each about one thing?): {', '.join(long)}"
        warnings.warn(message, stacklevel=1)
    none_of(
        [f"{place(path, count)} lines" for path, count in sorted(lines.items()) if count > MOST_LINES],
        f"No file has more than {MOST_LINES} lines; split these by what they are about:",
    )


def test_the_first_line_of_every_module_says_what_it_is_about() -> None:
    none_of(
        [
            place(path, 1)
            for path in MODULES
            if not (ast.get_docstring(tree(path)) and path.read_text(encoding="utf-8").startswith('"""'))
        ],
        "The first line of a module is its docstring:",
    )


def test_the_package_says_that_it_is_typed() -> None:
    assert (SRC / "py.typed").is_file()


def test_the_readme_is_the_description_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project.get("readme") == "README.md", 'pyproject.toml, [project]: readme = "README.md" is missing'


# ------------------------------------------------------------------------------------------- SQL

HEADER = re.compile(r"^-- ([a-z_]+): (.+)$")
FILE = re.compile(r"^(?P<topic>[a-z_]+)(?:\.(?P<dialect>[a-z]+))?\.sql$")
SQL_NAME = re.compile(r"^[a-z_]+\.[a-z_]+$")

CLOCKS = re.compile(
    r"\b(?:now|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday)\s*\("
    r"|\bcurrent_(?:timestamp|date|time)\b|\blocaltime(?:stamp)?\b|'now'"
    r"|\b(?:datetime|date|time|julianday|unixepoch)\s*\(\s*\)",
    re.IGNORECASE,
)
BY_POSITION = re.compile(r"\b(?:select|distinct|all|returning)\s+\*|\b\w+\s*\.\s*\*", re.IGNORECASE)
SQL_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


def read_queries(path: Path, text: str) -> tuple[dict[str, tuple[int, str]], list[str]]:
    """The statements of one file as {name: (line, SQL without comments)}, with what is wrong with it."""
    found: dict[str, tuple[int, list[str]]] = {}
    problems: list[str] = []
    body: list[str] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        header = HEADER.match(line)
        if header:
            name = header[1]
            if name in found:
                problems.append(f"{place(path, number)}: {name} is defined twice in this file")
            body = []
            found[name] = (number, body)
        elif body is not None:
            body.append(line)
        elif line.strip() and not line.startswith("--"):
            problems.append(f"{place(path, number)}: SQL before the first line `-- name: what it is for`")
    statements = {name: (line, SQL_COMMENT.sub(" ", "\n".join(text))) for name, (line, text) in found.items()}
    empty = [(line, name) for name, (line, sql) in statements.items() if not sql.strip()]
    problems += [f"{place(path, line)}: {name} has no SQL" for line, name in empty]
    return statements, problems


def query_files() -> dict[str, dict[str | None, Path]]:
    """{topic: {dialect, or None for a shared file: path}}."""
    topics: dict[str, dict[str | None, Path]] = {}
    for path in sorted(QUERIES.rglob("*.sql")):
        match = FILE.match(path.name)
        assert match, f"{place(path, 1)}: a file of statements is called topic.sql or topic.<dialect>.sql"
        topics.setdefault(match["topic"], {})[match["dialect"]] = path
    return topics


def defined() -> dict[str, list[tuple[Path, int, str]]]:
    """{topic.name: where it is defined, with its SQL}."""
    names: dict[str, list[tuple[Path, int, str]]] = {}
    for topic, files in query_files().items():
        for path in files.values():
            for name, (line, sql) in read_queries(path, path.read_text(encoding="utf-8"))[0].items():
                names.setdefault(f"{topic}.{name}", []).append((path, line, sql))
    return names


def yielded() -> dict[str, str]:
    """{topic.name: a place} for each literal first argument of Statement(...) in the library."""
    names: dict[str, str] = {}
    for path, node in nodes():
        if not (isinstance(node, ast.Call) and node.args):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        if called == "Statement":
            for inner in ast.walk(node.args[0]):
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                    names[inner.value] = place(path, inner.lineno)
    return names


def test_every_file_of_statements_is_well_formed() -> None:
    assert query_files(), f"no .sql file under {QUERIES.relative_to(ROOT).as_posix()}"
    problems = [
        problem
        for files in query_files().values()
        for path in files.values()
        for problem in read_queries(path, path.read_text(encoding="utf-8"))[1]
    ]
    none_of(problems, "A statement is a line `-- name: what it is for` and its SQL:")


def test_a_statement_is_defined_once_or_once_per_dialect() -> None:
    topics = query_files()
    dialects = {dialect for files in topics.values() for dialect in files if dialect is not None}
    problems = []
    for topic, files in topics.items():
        if None in files and len(files) > 1:
            both = ", ".join(path.name for path in files.values())
            problems.append(f"{topic} is both shared and per dialect: {both}")
        if None in files:
            continue
        problems += [f"{topic}.{missing}.sql does not exist" for missing in sorted(dialects - set(files))]
        texts = {path: path.read_text(encoding="utf-8") for path in files.values()}
        names = {path.name: set(read_queries(path, text)[0]) for path, text in texts.items()}
        every = set().union(*names.values())
        problems += [f"{file} lacks {name}" for file, has in names.items() for name in sorted(every - has)]
    none_of(problems, "A statement is in topic.sql, or in topic.<dialect>.sql for every dialect:")


def test_every_statement_is_used() -> None:
    literals = {node.value for _, node in nodes() if isinstance(node, ast.Constant)}
    unused = [(name, where[0]) for name, where in sorted(defined().items()) if name not in literals]
    none_of(
        [f"{place(path, line)}: {name}" for name, (path, line, _) in unused],
        'No script yields these; write Statement("topic.name", ...) or remove them:',
    )


def test_every_statement_that_a_script_yields_is_defined() -> None:
    known = defined()
    none_of(
        [f"{where}: {name}" for name, where in sorted(yielded().items()) if name not in known],
        f"These are not defined under {QUERIES.relative_to(ROOT).as_posix()}:",
    )
    none_of(
        [f"{where}: {name}" for name, where in sorted(yielded().items()) if not SQL_NAME.match(name)],
        "A statement's name is topic.name:",
    )


def test_named_sql_reads_no_clock() -> None:
    none_of(
        [
            f"{place(path, line)}: {name}: {found[0]}"
            for name, where in sorted(defined().items())
            for path, line, sql in where
            if (found := CLOCKS.search(sql))
        ],
        "The engine supplies the time; use the parameter :now:",
    )


def test_named_sql_selects_columns_by_name() -> None:
    none_of(
        [
            f"{place(path, line)}: {name}: {found[0]}"
            for name, where in sorted(defined().items())
            for path, line, sql in where
            if (found := BY_POSITION.search(sql))
        ],
        "Never select by position; name the columns:",
    )


@pytest.mark.parametrize(
    ("sql", "clock", "position"),
    [
        ("SELECT datetime('now')", True, False),
        ("SELECT unixepoch()", True, False),
        ("UPDATE t SET at = NOW ()", True, False),
        ("SELECT CURRENT_TIMESTAMP", True, False),
        ("SELECT :now, t.now_at, snow(1) FROM t WHERE count(*) > 2 * 3", False, False),
        ("SELECT * FROM t", False, True),
        ("SELECT t.* FROM t", False, True),
        ("DELETE FROM t RETURNING\n *", False, True),
    ],
)
def test_these_rules_see_what_they_should(sql: str, clock: bool, position: bool) -> None:
    assert bool(CLOCKS.search(sql)) is clock
    assert bool(BY_POSITION.search(sql)) is position


# ------------------------------------------------------------------------------- forbidden things


def test_no_script_of_statements_is_executed_at_once() -> None:
    none_of(
        [
            place(path, node.lineno)
            for path, node in nodes()
            if (isinstance(node, ast.Attribute) and node.attr == "executescript")
            or (isinstance(node, ast.Constant) and node.value == "executescript")
        ],
        "executescript commits what is open; execute statement by statement:",
    )


def test_nothing_is_pickled() -> None:
    pickles = {"cPickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
    problems = []
    for path, node in nodes():
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
        problems += [place(path, node.lineno) for name in names if name.partition(".")[0] in pickles]
    none_of(problems, "Values are stored as JSON, never pickled:")


def test_only_the_command_line_prints() -> None:
    none_of(
        [
            place(path, node.lineno)
            for path, node in nodes()
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "print"
            and (SRC / "cli") not in path.parents
        ],
        "A library and a server print nothing to stdout:",
    )


# ----------------------------------------------------------------------------------- public names


def declared_names() -> dict[str, str]:
    """{public name: the module it comes from}: the imports under `if TYPE_CHECKING:` in __init__.py."""
    names: dict[str, str] = {}
    for node in tree(SRC / "__init__.py").body:
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for inner in node.body:
                if isinstance(inner, ast.ImportFrom):
                    names.update({alias.asname or alias.name: inner.module or "" for alias in inner.names})
    return names


def test_the_public_names_are_those_declared_lazily_and_they_resolve() -> None:
    abathur = importlib.import_module("abathur")
    public = {name for name in abathur.__all__ if not name.startswith("__")}
    assert len(abathur.__all__) == len(set(abathur.__all__)), "abathur.__all__ names something twice"
    types = declared_names()
    assert public == set(types), "abathur.__all__ and the imports under `if TYPE_CHECKING:` differ"
    tables = [
        table
        for node in tree(SRC / "__init__.py").body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict)
        if (table := _literal_names(node.value))
    ]
    for table in tables:
        assert public == table, "abathur.__all__ and the table of lazily resolved names differ"
    for name, module in types.items():
        assert getattr(abathur, name) is getattr(importlib.import_module(module), name), f"abathur.{name}"
    assert public <= set(dir(abathur)), "dir(abathur) lacks public names"
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = abathur.no_such_name


def _literal_names(table: ast.Dict) -> set[str]:
    """The keys of a dict display whose keys and values are all strings, else nothing."""
    parts = [*table.keys, *table.values]
    if all(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in parts):
        return {key.value for key in table.keys if isinstance(key, ast.Constant)}
    return set()


@pytest.mark.parametrize("statement", ["import abathur", "from abathur import *"])
def test_importing_abathur_imports_no_extra(statement: str) -> None:
    code = f"import sys\n{statement}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert FOREIGN.isdisjoint(done.stdout.split()), f"{statement} imports what belongs to an extra"


# --------------------------------------------------------------------------------------- commands


def commands() -> dict[tuple[str, ...], click.Command]:
    """{words after `abathur`: command}, groups included."""
    main = importlib.import_module("abathur.cli").main
    assert isinstance(main, click.Group), "abathur.cli.main is a click group"
    found: dict[tuple[str, ...], click.Command] = {}

    def walk(words: tuple[str, ...], command: click.Command) -> None:
        found[words] = command
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                walk((*words, name), inner)

    walk((), main)
    return found


def command_lines(block: Block) -> list[tuple[int, str]]:
    """The lines of a shell block that start abathur, with their numbers in the page."""
    if block.language not in {"", "bash", "console", "sh", "shell", "text"}:
        return []
    lines = block.text.replace("\\\n", "  ").splitlines() if "\\\n" in block.text else block.text.splitlines()
    prompts = any(line.lstrip().startswith("$ ") for line in lines)
    if block.language in {"", "console", "text"} and not prompts:
        return []
    found = []
    for number, line in enumerate(lines, start=block.line + 1):
        if prompts and not line.lstrip().startswith("$ "):
            continue  # what the command printed
        for part in re.split(r"\|\|?|&&?|;|\$\(|`", line.lstrip().removeprefix("$ ").partition(" #")[0]):
            words = re.match(r"\s*(?:\w+=\S+\s+)*(?:\S*/)?abathur(?=\s|\)|$)(?P<rest>[^)<>]*)", part)
            if words:
                found.append((number, words["rest"].strip()))
    return found


def unknown(words: list[str], known: dict[tuple[str, ...], click.Command]) -> str | None:
    """What in this command line does not exist, or None."""
    path: tuple[str, ...] = ()
    skip = False
    for word in words:
        command = known[path]
        if skip:
            skip = False
        elif word.startswith("-") and word != "-":
            name, equals, _ = word.partition("=")
            option = next((p for p in command.params if name in (*p.opts, *p.secondary_opts)), None)
            if option is None and name not in {"--help", "-h"}:
                return f"{' '.join(('abathur', *path))} has no option {name}"
            flag = option is None or getattr(option, "is_flag", False) or getattr(option, "count", False)
            skip = not flag and not equals
        elif isinstance(command, click.Group):
            if (*path, word) not in known:
                return f"{' '.join(('abathur', *path))} has no command {word}"
            path = (*path, word)
    return None


def test_every_documented_command_exists() -> None:
    known = commands()
    problems = []
    for page in documents():
        for block in blocks(page):
            for line, rest in command_lines(block):
                problem = unknown(shlex.split(rest), known)
                if problem:
                    problems.append(f"{place(page, line)}: {problem}")
    none_of(problems, "The documentation shows what does not exist:")


def test_every_command_that_the_library_names_in_its_words_exists() -> None:
    known = commands()
    problems = []
    for path, node in nodes():
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for rest in re.findall(r"`abathur ([^`{<\n]+)`", node.value):
                problem = unknown(shlex.split(rest), known)
                if problem:
                    problems.append(f"{place(path, node.lineno)}: {problem}")
    none_of(problems, "A docstring or an error's remedy names what does not exist:")


def test_every_command_is_documented() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in documents())
    problems = []
    for words, command in commands().items():
        line = " ".join(("abathur", *words))
        if words and not command.hidden and not re.search(rf"\b{re.escape(line)}\b(?!-)", text):
            problems.append(line)
    none_of(problems, "README.md and docs/ mention nowhere, as `abathur <command>`:")


def test_the_page_of_all_commands_is_up_to_date() -> None:
    text = command_reference.PAGE.read_text(encoding="utf-8")
    try:
        wanted = command_reference.page(text)
    except ValueError as error:
        pytest.fail(str(error), pytrace=False)
    if wanted != text:
        pytest.fail("Bring it up to date: python -m tests.command_reference", pytrace=False)


def test_every_finding_of_doctor_is_documented() -> None:
    text = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    codes = {
        keyword.value.value
        for _, node in nodes()
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "Finding"
        for keyword in node.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    }
    assert "sqlite-version" in codes
    none_of([code for code in sorted(codes) if f"`{code}`" not in text], "docs/operating.md lacks these:")


def test_command_lines_are_found_in_shell_blocks_only() -> None:
    page = (
        "```console\n$ abathur --db a.db tasks list | head  # comment\nabathur 0.1.0\n"
        "$ ENV=1 .venv/bin/abathur demo && abathur doctor\n```\n"
        "```python\nimport abathur\n```\n```text\nabathur nothing\n```\n"
    )
    lines = [line for block in parse(ROOT / "README.md", page) for line in command_lines(block)]
    assert lines == [(2, "--db a.db tasks list"), (4, "demo"), (4, "doctor")]


def test_an_unknown_command_or_option_is_noticed() -> None:
    tasks = click.Group("tasks", commands=[click.Command("list")])
    main = click.Group("abathur", params=[click.Option(["--db"])], commands=[tasks])
    known: dict[tuple[str, ...], click.Command] = {
        (): main,
        ("tasks",): tasks,
        ("tasks", "list"): tasks.commands["list"],
    }
    assert unknown(["--db", "x", "tasks", "list", "anything"], known) is None
    assert unknown(["task"], known) == "abathur has no command task"
    assert unknown(["tasks", "list", "--nope"], known) == "abathur tasks list has no option --nope"
