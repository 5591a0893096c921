"""URLs of servers: what is read, and that no part of a password is ever repeated."""

from __future__ import annotations

import subprocess
import sys
import traceback

import pytest

from abathur import Database
from abathur.engines.urls import target_of
from abathur.errors import InvalidUrlError, OpenError

SECRET = "hunter2"

UNREADABLE = [
    f"postgresql://me:{SECRET}@2@db.example.org/agents",
    f"postgresql://me:12/{SECRET}@db.example.org/agents",
    f"postgresql://me:x/{SECRET}@db.example.org/agents",
    f"postgresql://me:12?{SECRET}@db.example.org/agents",
    f"postgresql://me:12?x={SECRET}@db.example.org/agents",
    f"postgresql://me:12#{SECRET}@db.example.org/agents",
    f"postgresql://me:[{SECRET}@db.example.org/agents",
    f"postgresql://me:{SECRET}\u2100@db.example.org/agents",
    f"postgresql://me:{SECRET}:x@db.example.org:port/agents",
    f"postgresql://me:{SECRET}@db.example.org/agents?{SECRET}",
    f"postgresql://me:{SECRET}@[::1/agents",
]
UNUSABLE = [
    f"postgresql://me:{SECRET}@/agents?host=127.0.0.1&port=x",
    f"postgresql://me:{SECRET}@127.0.0.1/agents?sslmode=none",
    f"postgresql://me@127.0.0.1/agents?password={SECRET}&sslmode=verify-full&ssl_min_protocol_version=x",
]
AWAY = [
    f"postgresql://me:{SECRET}@127.0.0.1:1/agents",
    f"postgresql://me@127.0.0.1:1/agents?password={SECRET}&sslpassword={SECRET}",
    f"postgresql:///agents?host=127.0.0.1&port=1&user=me&passw%6Frd={SECRET}",
    f"postgresql://me:{SECRET}@127.0.0.1:1,127.0.0.1:2/agents",
    f"postgresql://me:{SECRET}@/agents?host=/nowhere",
]


def all_that_is_said(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))


@pytest.mark.parametrize("url", UNREADABLE)
def test_what_cannot_be_read_is_refused_and_not_repeated(url):
    with pytest.raises(InvalidUrlError) as caught:
        Database(url)
    assert SECRET not in all_that_is_said(caught.value)
    assert "12" not in str(caught.value)


@pytest.mark.parametrize("url", UNUSABLE)
async def test_an_option_that_the_driver_does_not_know_is_refused(url):
    db = Database(url)
    with pytest.raises(InvalidUrlError) as caught:
        await db.initialize()
    await db.close()
    assert SECRET not in all_that_is_said(caught.value) + repr(db) + repr(vars(db._engine)) + db.name


@pytest.mark.parametrize("url", AWAY)
async def test_a_server_that_is_away_is_named_without_the_password(url, caplog):
    caplog.set_level("DEBUG")
    db = Database(url)
    with pytest.raises(OpenError) as caught:
        await db.initialize()
    findings = await db.doctor()
    await db.close()
    said = all_that_is_said(caught.value) + repr(db) + repr(vars(db._engine)) + db.name
    assert SECRET not in said + repr(findings) + caplog.text
    assert [(one.code, one.level) for one in findings] == [("server", "problem")]


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("postgresql://me:pw@host/db", "postgresql://me:pw@host/db"),
        ("postgres://me:pw@host/db?pool=9&schema=team_a", "postgresql://me:pw@host/db?schema=team_a"),
        ("postgresql://me@/db?host=/run/pg&schema=b", "postgresql://me@/db?host=%2Frun%2Fpg&schema=b"),
        ("postgresql://h1:1,h2:2/db", "postgresql://h1:1,h2:2/db"),
    ],
)
def test_another_process_is_given_the_whole_url(url, address):
    server = target_of(url)
    assert server.address == address
    assert target_of(address).schema == server.schema


def test_the_driver_is_not_imported_for_files():
    code = "import sys; from abathur import Database; Database('a.db'); print('asyncpg' in sys.modules)"
    said = subprocess.check_output([sys.executable, "-c", code], encoding="utf-8")
    assert said.strip() == "False"
