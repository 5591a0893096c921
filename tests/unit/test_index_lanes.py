"""Which indexing jobs run: three at most, and of those about the same files one."""

from __future__ import annotations

import random

import pytest

from abathur.projects.index.jobs import AT_A_TIME, Lanes, _Job, overlap

ROOTS = ("/a", "/b", "/c", "/d", "/e")
SCOPES = ("", "src", "src/deep", "srcs", "docs")


class Play:
    """Jobs that are asked for and end, by the rules of `Lanes` and without a database."""

    def __init__(self) -> None:
        self.jobs: list[_Job] = []
        self.number = 0

    def lanes(self) -> Lanes:
        lanes = Lanes(self.jobs)
        while job := lanes.next():
            lanes.release(job)
        return lanes

    def ask(self, root: str, scope: str = "", name: str = "") -> str:
        self.number += 1
        follows = self.lanes().place(root, scope)
        self.jobs.append(_Job(name or f"J{self.number}", "", root, scope, follows))
        self.check()
        return self.jobs[-1].id

    def end(self, name: str) -> None:
        self.jobs = [job for job in self.jobs if job.id != name]
        self.lanes()
        self.check()

    def running(self) -> list[str]:
        return [job.id for job in self.jobs if not job.follows]

    def check(self) -> None:
        at_work = [job for job in self.jobs if not job.follows]
        assert len(at_work) <= AT_A_TIME
        assert not self.jobs or at_work
        for one in at_work:
            for other in at_work:
                assert one is other or one.root != other.root or not overlap(one.scope, other.scope)


def test_a_job_that_is_let_go_takes_no_other_one_along_that_is_about_files_in_work():
    play = Play()
    for root in ("/a", "/b", "/c", "/d"):
        play.ask(root)
    play.ask("/a", name="again")
    play.end("J2")
    assert play.running() == ["J1", "J3", "J4"]
    play.end("J4")
    assert play.running() == ["J1", "J3"]
    play.end("J1")
    assert play.running() == ["J3", "again"]


def test_a_job_waits_for_all_that_are_about_its_files():
    play = Play()
    for scope in ("src", "docs", ""):
        play.ask("/a", scope)
    play.end("J2")
    assert play.running() == ["J1"]
    play.end("J1")
    assert play.running() == ["J3"]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_asked_for_three_run_none_beside_another_of_its_files_and_all_end(seed):
    chosen, play = random.Random(seed), Play()
    for _ in range(150):
        if play.jobs and chosen.random() < 0.45:
            # Mostly one that runs; a job that waits may be cancelled, too.
            of = play.running() if chosen.random() < 0.9 else [job.id for job in play.jobs]
            play.end(chosen.choice(of))
        else:  # ids are made before the transaction, so they are in no order
            play.ask(chosen.choice(ROOTS), chosen.choice(SCOPES), f"{chosen.random()}")
            play.jobs.sort(key=lambda job: job.id)
    while play.jobs:
        play.end(chosen.choice(play.running()))
