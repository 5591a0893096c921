"""R9: SQLite gets no more memory; then it does, and work goes on without a restart."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.faults import checking

METHODS = ("initialize", "enqueue", "claim", "complete", "read")


@pytest.mark.row("R9")
@pytest.mark.timeout(0)
def test_without_memory_nobody_is_told_done_without_a_commit_and_work_resumes(children, fast, budget, figure):
    path = fast / "agents.db"
    needs = {}
    for method in METHODS:
        checking.empty_directory(fast)
        end = children.run("starve", path, method=method, extra=None)
        assert end.code == 0, end.errors
        needs[method] = end.of("needs")[0][0]
    outcomes: Counter[str] = Counter()
    for number in budget(quick=50, long=150 * len(METHODS)):
        method = METHODS[number % len(METHODS)]
        extra = checking.spread(number // len(METHODS), 150) * needs[method] // 150
        checking.empty_directory(fast)
        end = children.run("starve", path, method=method, extra=extra)
        case = f"{method} with {extra} bytes: {end.of('refused')} {end.of('untyped')} {end.errors}"
        assert end.code == 0, case
        refused = end.of("refused")
        assert {kind for _, kind, _ in refused} <= {"OutOfMemoryError"}, case
        after = end.said[end.said.index(["lifted"]) :]
        assert not [word for word, *_ in after if word == "refused"], case
        checking.told_the_truth(end, path)
        outcomes["refused" if refused else "done all the same"] += 1
    assert outcomes["refused"] > outcomes.total() / 4
    counts = ", ".join(f"{count} {word}" for word, count in sorted(outcomes.items()))
    figure(f"R9: {budget.done} limits of memory on {len(METHODS)} methods: {counts}; 0 lost")
