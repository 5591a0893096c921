"""Large graphs: a chain and a fan of ten thousand are read within a second."""

from __future__ import annotations

import time

import pytest

from abathur import Prerequisite

N = 10_000


async def timed(read, *arguments, **options):
    """What was read, and the processor time of this process for it: all of it, and no other process's."""
    began = time.process_time()
    found = await read(*arguments, **options)
    return found, time.process_time() - began


@pytest.mark.slow
async def test_a_chain_of_ten_thousand_is_followed_to_its_end_within_a_second(db, figure):
    first, *_, last = await db.tasks.enqueue_many(
        [
            {
                "prompt": f"{n}",
                "ref": f"{n}",
                "max_attempts": 1,
                "depends_on": [Prerequisite(f"{n - 1}", "fail" if n > 1 else "block")] if n else [],
                "parent": f"{n - 1}" if n else None,
            }
            for n in range(N)
        ]
    )
    why, took_why = await timed(db.tasks.why, last)
    (reason,) = why.reasons
    assert (reason.data["root"].id, reason.data["length"]) == (first.id, N - 1)
    path, took_path = await timed(db.tasks.critical_path, last)
    assert (len(path.tasks), path.tasks[0].id, path.seconds) == (N, first.id, N)
    tree, took_tree = await timed(db.tasks.tree, first, limit=N)
    assert ([one.depth for one in tree.tasks], tree.more) == (list(range(N)), False)
    (claim,) = await db.tasks.claim("w")
    await db.tasks.fail(claim, "no")
    await db.tasks.cancel((await db.tasks.list(limit=2))[1])  # and all that wait for it fail
    failed, took_failed = await timed(db.tasks.why, last)
    assert failed.reasons[0].data["length"] == N - 2
    figure(
        f"a chain of {N:,}, CPU: why {took_why * 1e3:.0f} ms, of its failed end {took_failed * 1e3:.0f} ms,"
        f" critical path {took_path * 1e3:.0f} ms, tree {took_tree * 1e3:.0f} ms"
    )
    assert max(took_why, took_failed, took_path, took_tree) < 1


@pytest.mark.slow
async def test_a_fan_of_ten_thousand_is_read_within_a_second(db, figure):
    parts = [{"prompt": "x", "ref": f"{n}", "parent": "root"} for n in range(N)]
    made = await db.tasks.enqueue_many(
        [
            {"prompt": "root", "ref": "root"},
            *parts,
            {"prompt": "end", "depends_on": [p["ref"] for p in parts]},
        ]
    )
    why, took_why = await timed(db.tasks.why, made[-1])
    assert (len(why.reasons), why.more) == (20, N - 20)
    path, took_path = await timed(db.tasks.critical_path, made[-1])
    assert (len(path.tasks), path.seconds) == (2, 2)
    tree, took_tree = await timed(db.tasks.tree, made[0], limit=N)
    assert (len(tree.tasks), tree.more) == (N, True)
    _, took_ready = await timed(db.tasks.why, made[-2])
    _, took_stats = await timed(db.tasks.stats)
    figure(
        f"a fan of {N:,}, CPU: why {took_why * 1e3:.0f} ms, of its last part {took_ready * 1e3:.0f} ms,"
        f" critical path {took_path * 1e3:.0f} ms, tree {took_tree * 1e3:.0f} ms,"
        f" stats {took_stats * 1e3:.0f} ms"
    )
    assert max(took_why, took_path, took_tree, took_ready, took_stats) < 1
