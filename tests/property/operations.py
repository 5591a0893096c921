"""Sequences of everything that can be done with a Database: drawn by Hypothesis, done to one of them.

An operation names tasks and claims by their place among all that there are, so that the same sequence can
be done to several databases. What a database answers is made plain: ids become `#1`, `#2` and so on in the
order in which they appear, and hashes, which are made of ids, are left out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Any

import attrs
import msgspec
from attrs import field, frozen
from hypothesis import strategies as st

from abathur import Claim, Database, Prerequisite, Retention, Statement, Task, schema, tasks
from abathur.errors import AbathurError, EngineError
from abathur.script import Script
from abathur.times import moment
from tests.property.clocks import SECOND, FakeClock

POLICIES = ("block", "fail", "cancel", "ignore")

SHOP = schema.Schema(
    owner="shop",
    tables=(
        schema.Table(
            "shop_orders",
            (
                schema.Column("id", "INTEGER", primary_key=True),
                schema.Column("what", "TEXT", not_null=True),
                schema.Column("task_id", "TEXT"),
            ),
            unique=(("what",),),
        ),
    ),
)
"""An application's own table."""
QUERIES = {
    "shop.add": "INSERT INTO shop_orders (id, what, task_id) VALUES (:id, :what, :task_id)",
    "shop.drop": "DELETE FROM shop_orders WHERE what = :what",
    "shop.all": "SELECT id, what, task_id FROM shop_orders ORDER BY id",
    "shop.nowhere": "SELECT id FROM nowhere",
}


@frozen
class Operation:
    """One call: the name of a method of `World`, and its arguments."""

    name: str
    given: Mapping[str, Any] = field(factory=dict)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.given.items())})"


class Halfway(Exception):  # noqa: N818  # an application's own
    """What an application's script raises after it has written something."""


# -- what is drawn -------------------------------------------------------------------------------

TASK = st.integers(-1, 9)
"""The place of a task; -1 is one that does not exist."""
AGENT_TYPE = st.sampled_from(["general", "reviewer", "B"])
WAITS = st.lists(st.tuples(TASK.filter(lambda at: at >= 0), st.sampled_from(POLICIES)), max_size=3)
PAYLOAD = st.sampled_from([None, {}, {"n": 1}, ["ä\U0001f600", 1.5, None], "text", 10**15])
LATER = st.sampled_from([None, None, 0, 5, 60])
AGE = st.sampled_from([None, 0, 10])


def call(name: str, **given: st.SearchStrategy[Any]) -> st.SearchStrategy[Operation]:
    return st.builds(Operation, st.just(name), st.fixed_dictionaries(given))


NEW = {
    "agent_type": AGENT_TYPE,
    "priority": st.sampled_from([5, 5, 0, 10]),
    "waits": WAITS,
    "later": LATER,
    "max_attempts": st.integers(1, 3),
    "key": st.sampled_from([None, None, None, "k1", "k2"]),
    "parent": st.none() | TASK,
    "project": st.sampled_from([None, "p"]),
    "deadline": st.sampled_from([None, None, 30]),
    "input": PAYLOAD,
}
REF = st.sampled_from(["a", "b", "c"])
OF_MANY = {"ref": st.none() | REF, "after": st.lists(REF, max_size=2), "part_of": st.none() | REF}
WRITES = (
    call("enqueue", prompt=st.sampled_from(["one", "two"]), **NEW),
    call("enqueue", prompt=st.just("plain"), agent_type=AGENT_TYPE),
    call(
        "enqueue_many",
        many=st.lists(st.fixed_dictionaries({**NEW, **OF_MANY}), max_size=4),
    ),
    call(
        "claim",
        worker=st.sampled_from(["w1", "w2"]),
        agent_types=st.sampled_from([None, None, ["general"], ["B", "reviewer"], []]),
        limit=st.integers(1, 4),
        lease=st.sampled_from([1, 10, 100]),
        caps=st.sampled_from([None, None, {"general": 1}, {"B": 0, "reviewer": 2}]),
    ),
    call("complete", claim=st.integers(0, 9), result=PAYLOAD),
    call("complete", claim=st.just(-1), result=PAYLOAD),
    call(
        "fail",
        claim=st.integers(-3, 9),
        error=st.sampled_from(["no", "zwölf\n\U0001f600"]),
        retry_in=st.sampled_from([0, 7]),
        retry=st.booleans(),
        outcome=st.sampled_from(["failed", "timed_out"]),
    ),
    call("release", claim=st.integers(-3, 9), retry_in=st.sampled_from([0, 3])),
    call(
        "heartbeat",
        claim=st.integers(-3, 9),
        lease=st.sampled_from([None, 1, 50]),
        progress=st.sampled_from([None, 0, 0.25, 1]),
        message=st.sampled_from([None, "on it"]),
    ),
    call("cancel", task=TASK, tree=st.booleans(), reason=st.sampled_from([None, "not needed"])),
    call("retry", task=TASK),
    call("add_dependencies", task=TASK, waits=st.lists(TASK, max_size=2), policy=st.sampled_from(POLICIES)),
    call("end_by_waiting", claim=st.integers(-2, 9), waits=st.lists(TASK, max_size=2)),
    call(
        "script",
        number=st.integers(1, 4),
        what=st.sampled_from(["book", "lamp"]),
        claim=st.none() | st.integers(-1, 9),
        boom=st.sampled_from([None, None, "first", "last", "unknown", "nowhere"]),
    ),
    call("recount"),
)
"""What is one transaction each: several at once may be merged into one."""
READS = (
    call("get", task=TASK),
    call("why", task=TASK),
    call("tree", task=TASK),
    call("attempts", task=TASK),
    call("progress", task=TASK),
    call("prerequisites", task=TASK),
    call("critical_path", task=TASK),
    call("resolve", task=TASK),
    call("stats"),
    call("counts"),
    call("outlook", agent_types=st.sampled_from([["general"], ["B", "reviewer"]])),
    call("orders"),
    call(
        "list",
        status=st.sampled_from([None, "ready", "blocked", "failed"]),
        agent_type=st.none() | AGENT_TYPE,
        parent=st.none() | TASK,
        project=st.sampled_from([None, "p"]),
        limit=st.integers(1, 4),
        after=st.none() | TASK,
        newest_first=st.booleans(),
    ),
    call("trail", task=st.none() | TASK, after=st.integers(0, 9), limit=st.integers(0, 5)),
    call("verify"),
)
WRONG = st.sampled_from(
    [
        ("enqueue", {"prompt": "nul \0"}),
        ("enqueue", {"prompt": ""}),
        ("enqueue", {"prompt": "x", "priority": 11}),
        ("enqueue", {"prompt": "x", "input": {"f": float("nan")}}),
        ("enqueue", {"prompt": "x", "depends_on": ["nobody"]}),
        ("enqueue", {"prompt": "x", "parent": "nobody"}),
        ("enqueue", {"prompt": "\ud800"}),
        ("enqueue_many", {"tasks": [{"prompt": "x", "ref": "a"}, {"prompt": "y", "ref": "a"}]}),
        ("enqueue_many", {"tasks": [{"prompt": "x", "nothing": 1}]}),
        ("claim", {"worker": "w", "limit": 0}),
        ("claim", {"worker": "w", "lease": 0}),
        ("list", {"status": "strange"}),
        ("list", {"limit": 10_001}),
        ("get", {"task": "nul \0"}),
        ("get", {"task": ""}),
        ("prune", {"retention": None}),
        ("tree", {"task": "nobody", "limit": 0}),
    ]
)
TIME = call("let_time_pass", seconds=st.sampled_from([1, 6, 30, 200]))
UPKEEP = (
    call("prune", completed=AGE, failed=AGE, cancelled=AGE, dry_run=st.booleans()),
    call("reconcile"),
    call("checkpoint"),
)
OPERATION = st.one_of(
    *WRITES,
    *WRITES,  # more often than what follows
    st.one_of(*READS),
    st.one_of(*UPKEEP),
    TIME,
    WRONG.map(lambda pair: Operation("wrong", {"method": pair[0], "given": pair[1]})),
    call("together", many=st.lists(st.one_of(*WRITES), min_size=2, max_size=6)),
)
OPERATIONS = st.builds(
    list.__add__, st.lists(st.one_of(*WRITES[:4]), min_size=4, max_size=8), st.lists(OPERATION, min_size=15)
)
"""A sequence; it begins with what makes tasks and claims, because on nothing the rest does nothing."""


# -- an application's scripts --------------------------------------------------------------------


def order(
    number: int, what: str, held: Claim | None, boom: str | None, packing: tasks.NewTask, now: int
) -> Script[Task]:
    """An order, the task that packs it and the end of another task: all of it, or nothing."""
    yield Statement("shop.drop", what=what)
    if boom == "first":
        raise Halfway(number)
    yield Statement("shop.add", id=number, what=what, task_id=None)
    (made,) = yield from tasks.enqueue([packing], now)
    if boom in ("unknown", "nowhere"):
        yield Statement(f"shop.{boom}")
    if held is not None:
        yield from tasks.complete(held, {"order": number}, now=now)
    if boom == "last":
        raise Halfway(number)
    return made


def orders() -> Script[list[tuple[int, str, str | None]]]:
    rows = yield Statement("shop.all")
    return [(row["id"], row["what"], row["task_id"]) for row in rows]


# -- one database --------------------------------------------------------------------------------

UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
HASH = re.compile(r"\b[0-9a-f]{32,}\b")


class World:
    """A database, and what a program that uses it has kept: the tasks that it made, and its claims."""

    def __init__(self, db: Database, clock: FakeClock) -> None:
        self.db = db
        self.clock = clock
        self.tasks: list[str] = []
        self.claims: list[Claim] = []
        self._names: dict[str, str] = {}

    async def do(self, operation: Operation) -> Any:
        """Do it; returns the answer or the error, made plain."""
        return self.plain(await self._done(operation))

    async def _done(self, operation: Operation) -> Any:
        method: Callable[..., Any] = getattr(self, f"_{operation.name}")
        try:
            answer = await method(**operation.given)
        except (AbathurError, Halfway) as error:
            return error
        self._keep(answer)
        return answer

    def _keep(self, answer: Any) -> None:
        for one in answer if isinstance(answer, list) else [answer]:
            if isinstance(one, Claim):
                self.claims.append(one)
            elif isinstance(one, Task) and one.id not in self.tasks:
                self.tasks.append(one.id)

    def plain(self, value: Any) -> Any:
        """A value that can be compared with what another database has answered."""
        if isinstance(value, EngineError):  # its message has the database's own words
            return type(value).__name__
        if isinstance(value, Exception):
            return f"{type(value).__name__}: {self.plain(str(value))}"
        if isinstance(value, str):
            return HASH.sub("<hash>", UUID.sub(self._name, value.replace(self.db.name, "<name>")))
        if isinstance(value, msgspec.Struct):
            fields = msgspec.structs.asdict(value).items()
            return type(value).__name__, {name: self.plain(found) for name, found in fields}
        if attrs.has(type(value)):
            fields = ((one.name, getattr(value, one.name)) for one in attrs.fields(type(value)))
            return type(value).__name__, {name: self.plain(found) for name, found in fields}
        if isinstance(value, datetime):
            return value.isoformat()
        if isinstance(value, Mapping):
            return {str(self.plain(key)): self.plain(found) for key, found in value.items()}
        if isinstance(value, AbstractSet):
            return sorted(map(self.plain, sorted(value)))
        if isinstance(value, (list, tuple)):
            return [self.plain(one) for one in value]
        return (type(value).__name__, value)  # 1 is not 1.0, nor True

    def _name(self, match: re.Match[str]) -> str:
        return self._names.setdefault(match[0], f"#{len(self._names) + 1}")

    def task(self, at: int) -> str:
        return self.tasks[at % len(self.tasks)] if self.tasks and at >= 0 else "nobody"

    def claim(self, at: int) -> Any:
        """One of the claims, most of which are lost long ago; -1 is the newest."""
        if not self.claims:
            return None
        return self.claims[at % len(self.claims) if at >= 0 else max(at, -len(self.claims))]

    # -- operations --------------------------------------------------------------------------

    def _new(self, **given: Any) -> dict[str, Any]:
        later, deadline, parent = (given.pop(name, None) for name in ("later", "deadline", "parent"))
        waits = [Prerequisite(self.task(at), policy) for at, policy in given.pop("waits", ())]
        once = {one.task: one for one in waits if one.task != "nobody"}
        return {
            "prompt": "many",
            **given,
            "depends_on": list(once.values()),
            "parent": None if parent is None else self.task(parent),
            "run_at": None if later is None else moment(self.clock.time + later * SECOND),
            "deadline": None if deadline is None else moment(self.clock.time + deadline * SECOND),
        }

    async def _enqueue(self, **given: Any) -> Task:
        return await self.db.tasks.enqueue(**self._new(**given))

    async def _enqueue_many(self, many: list[dict[str, Any]]) -> list[Task]:
        made = []
        for given in many:
            new = self._new(**given)
            new["depends_on"] += dict.fromkeys(new.pop("after"))
            new["parent"] = new.pop("part_of") or new["parent"]
            made.append(new)
        return await self.db.tasks.enqueue_many(made)

    async def _claim(self, worker: str, **given: Any) -> list[Claim]:
        return await self.db.tasks.claim(worker, **given)

    async def _complete(self, claim: int, result: Any) -> None:
        await self.db.tasks.complete(self.claim(claim), result)

    async def _fail(self, claim: int, error: str, **given: Any) -> str:
        return await self.db.tasks.fail(self.claim(claim), error, **given)

    async def _release(self, claim: int, retry_in: float) -> None:
        await self.db.tasks.release(self.claim(claim), retry_in=retry_in)

    async def _heartbeat(self, claim: int, **given: Any) -> None:
        await self.db.tasks.heartbeat(self.claim(claim), **given)

    async def _cancel(self, task: int, **given: Any) -> Task:
        return await self.db.tasks.cancel(self.task(task), **given)

    async def _retry(self, task: int) -> Task:
        return await self.db.tasks.retry(self.task(task))

    async def _add_dependencies(self, task: int, waits: list[int], policy: Any) -> None:
        wanted = dict.fromkeys(self.task(at) for at in waits)
        await self.db.tasks.add_dependencies(self.task(task), wanted, on_failure=policy)

    async def _end_by_waiting(self, claim: int, waits: list[int]) -> None:
        held = self.claim(claim) or "nobody"
        await self.db.tasks.add_dependencies(held, dict.fromkeys(self.task(at) for at in waits))

    async def _script(self, number: int, what: str, claim: int | None, boom: str | None) -> Task:
        held = None if claim is None else self.claim(claim)
        packing = tasks.new_task(f"pack {what}", agent_type="packer", created_by="shop")
        return await self.db.run(order, number, what, held, boom, packing)

    async def _recount(self) -> None:
        await self.db.tasks.recount()

    async def _reconcile(self) -> int:
        return await self.db.tasks.reconcile()

    async def _checkpoint(self) -> None:
        await self.db.audit.checkpoint()

    async def _prune(self, dry_run: bool, **ages: int | None) -> Any:
        kept = {name: None if age is None else timedelta(seconds=age) for name, age in ages.items()}
        return await self.db.tasks.prune(Retention(**kept), dry_run=dry_run)

    async def _let_time_pass(self, seconds: int) -> None:
        self.clock.time += seconds * SECOND

    async def _together(self, many: list[Operation]) -> list[Any]:
        """Callers that all wait for the next transaction; each gets an answer of its own."""
        return await asyncio.gather(*(self._done(one) for one in many))

    async def _wrong(self, method: str, given: dict[str, Any]) -> Any:
        return await getattr(self.db.tasks, method)(**given)

    # -- looking -----------------------------------------------------------------------------

    async def _get(self, task: int) -> Task:
        return await self.db.tasks.get(self.task(task))

    async def _why(self, task: int) -> Any:
        found = await self.db.tasks.why(self.task(task))
        return found, str(found)

    async def _tree(self, task: int) -> Any:
        return await self.db.tasks.tree(self.task(task), limit=6)

    async def _attempts(self, task: int) -> Any:
        return await self.db.tasks.attempts(self.task(task))

    async def _progress(self, task: int) -> Any:
        return await self.db.tasks.progress(self.task(task))

    async def _prerequisites(self, task: int) -> Any:
        return await self.db.tasks.prerequisites(self.task(task))

    async def _critical_path(self, task: int) -> Any:
        return await self.db.tasks.critical_path(self.task(task))

    async def _resolve(self, task: int) -> list[str]:
        return await self.db.tasks.resolve(self.task(task))

    async def _stats(self) -> Any:
        return await self.db.tasks.stats()

    async def _counts(self) -> Any:
        return await self.db.tasks.counts(), await self.db.tasks.counts(by_agent_type=True)

    async def _outlook(self, agent_types: list[str]) -> Any:
        return await self.db.tasks.outlook(agent_types)

    async def _orders(self) -> Any:
        return await self.db.read(orders)

    async def _list(self, parent: int | None, after: int | None, **given: Any) -> list[Task]:
        return await self.db.tasks.list(
            parent=None if parent is None else self.task(parent),
            after=None if after is None else self.task(after),
            **given,
        )

    async def _trail(self, task: int | None, after: int, limit: int) -> Any:
        return await self.db.audit.list(
            task_id=None if task is None else self.task(task), after=after, limit=limit
        )

    async def _verify(self) -> Any:
        return await self.db.audit.verify()

    async def everything(self) -> dict[str, Any]:
        """All that can be seen at the end: every task with its attempts and edges, the trail, the counts."""
        found = await self.db.tasks.list(limit=10_000)
        of_each = (self.db.tasks.attempts, self.db.tasks.prerequisites, self.db.tasks.why)
        return {
            "tasks": self.plain(found),
            **{method.__name__: self.plain(await asyncio.gather(*map(method, found))) for method in of_each},
            "trail": self.plain(await self.db.audit.list(limit=10_000)),
            "counts": self.plain(await self._counts()),
            "verified": self.plain(await self.db.audit.verify()),
            "orders": self.plain(await self._orders()),
            "stats": self.plain(await self._stats()),
        }
