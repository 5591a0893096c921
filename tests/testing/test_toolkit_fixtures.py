"""The fixtures, as the tests of somebody else's project use them: anyio, pytest-asyncio and plain."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
import pytest
from abathur import Database

@pytest.fixture
def abathur_db(tmp_path, abathur_clock):
    return Database(tmp_path / "agents.db", environment="test", clock=abathur_clock)
"""
BODY = """
async def body(db, abathur_clock, task_factory, assert_enqueued, refute_enqueued, assert_completed,
               assert_failed, assert_cancelled, crash_points):
    async with db:
        runner = Runner(db)

        @runner.agent("planner")
        async def plan(ctx):
            await ctx.enqueue("Review", agent_type="reviewer", input={"path": "a.py", "all": False})

        plan = await task_factory(agent_type="planner", status="scheduled")
        broken = await task_factory(status="failed", error="no way")
        gone = await task_factory(status="cancelled")
        before = abathur_clock.time
        done = await drain(db, runner)
        assert abathur_clock.time > before
        await assert_enqueued(agent_type="reviewer", input={"path": "a.py"})
        await refute_enqueued(agent_type="builder")
        await assert_completed(plan)
        await assert_failed(broken, error="no way")
        await assert_cancelled(gone)
        assert [one.task.agent_type for one in done.left] == ["reviewer"], done

    async def scenario(db):
        runner = Runner(db)

        @runner.agent("waiter")
        async def wait(ctx):
            await asyncio.sleep(0)

        await db.tasks.enqueue("Wait", agent_type="waiter")
        return runner

    crashes = 0
    for crash in crash_points(scenario, lines=False):
        async with crash as db:
            assert await db.tasks.counts() == {"completed": 1}
        crashes += 1
    assert crashes > 5
"""
NAMES = (
    "abathur_db, abathur_clock, task_factory, assert_enqueued, refute_enqueued, assert_completed,"
    " assert_failed, assert_cancelled, crash_points"
)
SCOPE = "asyncio_default_fixture_loop_scope=function"
HOWS = {
    "anyio": (f"@pytest.mark.anyio\nasync def test_it({NAMES}):\n    await body({NAMES})", ["-pno:asyncio"]),
    "pytest-asyncio": (
        f"@pytest.mark.asyncio\nasync def test_it({NAMES}):\n    await body({NAMES})",
        ["-pno:anyio", "-o", SCOPE],
    ),
    "plain": (f"def test_it({NAMES}):\n    asyncio.run(body({NAMES}))", ["-pno:asyncio"]),
}


@pytest.mark.parametrize("how", HOWS)
def test_the_fixtures_work_under(how, pytester):
    test, options = HOWS[how]
    pytester.makeconftest(CONFTEST + '\n@pytest.fixture\ndef anyio_backend():\n    return "asyncio"\n')
    pytester.makepyfile(
        "import asyncio\nimport pytest\nfrom abathur import Runner\nfrom abathur.testing import drain\n"
        + BODY
        + test
    )
    # Installed, the plugin is there by itself.
    plugin = [] if entry_points(group="pytest11", name="abathur") else ["-p", "abathur.testing.plugin"]
    arguments = [*plugin, "-p", "no:cacheprovider", "-n0", "-W", "error", *options]
    done = pytester.runpytest_subprocess(*arguments)
    done.assert_outcomes(passed=1)


def test_the_names_of_the_testing_package_need_no_pytest(pytester):
    code = (
        "import sys, abathur.testing as t; [getattr(t, n) for n in t.__all__]; print('pytest' in sys.modules)"
    )
    done = pytester.runpython_c(code)
    assert done.stdout.str() == "False"
