"""How a program ends that has used a database, whether it closed it or forgot to."""

from __future__ import annotations

import os

import pytest

from tests.conformance.test_lifecycle import python


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path):
    return str(tmp_path / "agents.db") if request.param == "file" else ":memory:"


@pytest.mark.parametrize("how", ["forgotten", "dropped", "raised", "unawaited"])
def test_a_forgotten_close_warns_and_does_not_hang_the_interpreter(url, how):
    code = """
        import asyncio, sys
        from abathur import Database

        db = Database(sys.argv[1], environment="test")

        async def main():
            await db.initialize()
            await db.tasks.enqueue("x")
            await db.tasks.list()
            if sys.argv[2] == "dropped":
                globals().pop("db")
            if sys.argv[2] == "raised":
                sys.exit(3)
            if sys.argv[2] == "unawaited":
                asyncio.create_task(db.tasks.enqueue("y"))

        asyncio.run(main())
    """
    done = python(code, url, how)
    assert done.returncode == (3 if how == "raised" else 0), done.stderr
    assert "ResourceWarning" in done.stderr
    assert "close" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("debug", ["", "1"])
def test_normal_use_ends_cleanly_and_without_a_warning(url, debug):
    code = """
        import asyncio, sys, threading
        from abathur import Database

        async def main():
            asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is not what is tested
            async with Database(sys.argv[1], environment="test") as db:
                await asyncio.gather(*(db.tasks.enqueue(f"{n}") for n in range(50)))
                await asyncio.gather(*(db.tasks.list() for n in range(10)))
                waiter = asyncio.create_task(db.tasks.wait((await db.tasks.list())[0], timeout=5))
                for claim in await db.tasks.claim("w", limit=50):
                    await db.tasks.complete(claim)
                await waiter
                assert (await db.audit.verify()).ok

        asyncio.run(main())
        left = [thread for thread in threading.enumerate() if not thread.daemon]
        left.remove(threading.main_thread())
        for thread in left:
            thread.join(5)  # it ends a moment after close() has told it to
        assert not any(thread.is_alive() for thread in left), left
        print("done")
    """
    done = python(code, url, env={**os.environ, "PYTHONDEVMODE": debug, "PYTHONASYNCIODEBUG": debug})
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
    assert done.stderr == ""
