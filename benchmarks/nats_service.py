"""`make bench-nats`: the database service end to end, each figure beside its bound.

An event counts from its publication until another process reads from the file that it is stored. The service
runs in a process of its own, on a file with durability `full`; the nats-server is a real one, with JetStream.
It writes docs/benchmarks/nats.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nats

from abathur.testing.nats_server import NatsServer, program, version_of
from benchmarks.harness import machine, real_disk
from benchmarks.nats_parts import DIRECT, ECHO, PREFIX, Bench, Process, spread, timed

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "nats.md"


async def single(bench: Bench) -> None:
    """1. Events one by one."""
    user, times = bench.name(), []
    await bench.say(user, 0)
    await bench.stored(user, 1, 5)
    for number in range(2, 102):
        began = time.perf_counter()
        await bench.say(user, number)
        assert await bench.stored(user, number, 5) == number
        times.append(time.perf_counter() - began)
    average, _, p95 = spread(times)
    found = f"avg {average:.2f} ms, P95 {p95:.2f} ms"
    bench.add("1 single events, 100", "avg < 5 ms, P95 < 10 ms", "1 / 2 ms", found, average < 5 and p95 < 10)


async def reply(bench: Bench) -> None:
    """2. A request and its reply, beside an echo."""
    echo = Process("-c", ECHO, bench.server.url)
    raw = json.dumps({"username": "user-1"}).encode()

    async def call(subject: str) -> None:
        await bench.client.request(subject, raw, timeout=5)

    for subject in ("bench-echo", f"{PREFIX}.db.query.user_stats"):
        await asyncio.gather(*(call(subject) for _ in range(20)))
    echoes, asked = [], []
    for _ in range(1_000):  # in turns, so that both have the same machine
        echoes.append(await timed(lambda: call("bench-echo")))
        asked.append(await timed(lambda: call(f"{PREFIX}.db.query.user_stats")))
    echo.stop()
    over = spread(asked)[2] - spread(echoes)[2]
    found = f"{over:.2f} ms over an echo (P95 {spread(asked)[2]:.2f} and {spread(echoes)[2]:.2f} ms)"
    bench.add("2 request and reply, user_stats", "P95 < 10 ms over an echo", "0.5 ms", found, over < 10)


async def publishers(bench: Bench) -> None:
    """3. Ten publishers at once."""
    user = bench.name()
    clients = [await nats.connect(bench.server.url) for _ in range(10)]
    began = time.perf_counter()

    async def publish(client: Any, first: int) -> None:
        for number in range(first, first + 20):
            await bench.say(user, number, client)
        await client.flush()

    await asyncio.gather(*(publish(client, place * 20) for place, client in enumerate(clients)))
    count = await bench.stored(user, 200, 10)
    each = (time.perf_counter() - began) / 200 * 1_000
    for client in clients:
        await client.close()
    found = f"{count} of 200 stored, avg {each:.2f} ms"
    bench.add(
        "3 ten publishers x 20 events", "all stored, avg < 10 ms", "2 ms", found, count == 200 and each < 10
    )


async def sustained(bench: Bench, seconds: float) -> None:
    """4. A steady stream: as fast as one publisher paces 1,000 a second."""
    user, number = bench.name(), 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        for _ in range(10):
            number += 1
            await bench.say(user, number)
        await asyncio.sleep(max(began + number / 1_000 - time.perf_counter(), 0))
    count = await bench.stored(user, number, 1)
    rate = count / (time.perf_counter() - began)
    part = count / number * 100
    found = f"{rate:,.0f} events/s, {part:.1f} % of {number:,} stored"
    bench.add(
        f"4 sustained, {seconds:.0f} s",
        ">= 100 events/s, > 95 % stored",
        "100 %",
        found,
        rate >= 100 and part > 95,
    )


async def burst(bench: Bench) -> None:
    """5. A thousand events at once."""
    user = bench.name()
    began = time.perf_counter()
    for number in range(1_000):
        await bench.say(user, number)
    count = await bench.stored(user, 1_000, 3)
    took = time.perf_counter() - began
    found = f"{count:,} stored after {took:.2f} s"
    bench.add("5 burst of 1,000", ">= 95 % stored after 3 s", "100 % within 1 s", found, count >= 950)


async def cpu(bench: Bench, seconds: float) -> None:
    """6 and 7. What an event costs over NATS, beside the same written directly."""
    direct = Process("-c", DIRECT, str(bench.place / "direct.db"), str(seconds + 5))
    await asyncio.sleep(1)
    before = direct.cpu()
    await asyncio.sleep(seconds)
    base = (direct.cpu() - before) / seconds * 100
    direct.stop()
    bench.add("7 direct writes at 50 events/s", "the base of 6", "", f"{base:.1f} % of a core", within=True)
    user, number = bench.name(), 0
    before, began = bench.service.cpu(), time.perf_counter()
    while time.perf_counter() - began < seconds:
        number += 1
        await bench.say(user, number)
        await asyncio.sleep(max(began + number / 50 - time.perf_counter(), 0))
    over = (bench.service.cpu() - before) / seconds * 100 - base
    found = f"{over:+.1f} points of a core"
    bench.add("6 CPU over NATS at 50 events/s", "< 5 points more than direct writes", "2", found, over < 5)


async def memory(bench: Bench, seconds: float) -> None:
    """8. Memory of the service under a steady stream of events and requests."""
    user, number, sizes = bench.name(), 0, []
    began = time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        number += 1
        await bench.say(user, number)
        if number % 10 == 0:
            await bench.ask("db.query.user_stats", {"username": user})
        if number % 100 == 0 and passed > seconds / 4:
            sizes.append(bench.service.memory())
        await asyncio.sleep(max(began + number / 200 - time.perf_counter(), 0))
    grown = (sizes[-1] / sizes[0] - 1) * 100
    found = f"{grown:+.1f} % from {sizes[0]:.0f} MiB, after {number:,} events"
    bench.add(f"8 memory, {seconds:.0f} s", "within 10 %", "flat", found, grown < 10)


async def mixed(bench: Bench) -> None:
    """9. Events of all kinds."""
    user = bench.name()
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("db.user.joined", {"username": user}),
        ("db.message.log", {"username": user, "message": "hello"}),
        ("db.stats.user_count", {"chat_count": 5, "connected_count": 7}),
        ("db.status.update", {"status_data": {"playing": "x"}}),
        (
            "events.pm_command",
            {"timestamp": time.time(), "username": user, "command": "stats", "result": "success"},
        ),
        ("db.user.left", {"username": user}),
        ("db.message.log", {"username": user, "message": "bye"}),
    ]
    rounds = 300
    began = time.perf_counter()
    for _ in range(rounds):
        for subject, body in kinds:
            await bench.client.publish(f"{PREFIX}.{subject}", json.dumps(body).encode())
    count = await bench.stored(user, rounds * 2, 30)
    rate = rounds * len(kinds) / (time.perf_counter() - began)
    found = f"{rate:,.0f} events/s"
    bench.add("9 mixed events", ">= 100/s", "", found, rate >= 100 and count == rounds * 2)


async def restart(bench: Bench) -> None:
    """10. Events before, during and after a restart of the service."""
    user = bench.name()
    for number in range(50):
        await bench.say(user, number)
    await bench.client.flush()
    bench.service.stop()
    for number in range(50, 80):
        await bench.say(user, number)
    await bench.client.flush()
    bench.start()
    for number in range(80, 130):
        await bench.say(user, number)
    count = await bench.stored(user, 130, 20)
    await asyncio.sleep(0.2)
    count = await bench.lines(user)
    bench.add(
        "10 restart: 50, 30 while down, 50", ">= 75 % stored", "130 of 130", f"{count} of 130", count >= 98
    )


async def rows(bench: Bench) -> None:
    """Rows, beside an older service: 370 inserts/s and 2.6 ms each."""
    fields = [{"name": "text", "type": "text"}, {"name": "score", "type": "integer"}]
    await bench.ask("db.schema.bench.register", {"table": "items", "fields": fields})
    made: list[int] = []

    async def insert() -> None:
        made.append((await bench.ask("db.row.bench.items.insert", {"text": "hello", "score": 1}))["id"])

    async def select() -> None:
        await bench.ask("db.row.bench.items.select", {"id": made[0]})

    async def update() -> None:
        await bench.ask("db.row.bench.items.update", {"id": made[0], "data": {"score": 2}})

    for name, call in (("insert", insert), ("select", select), ("update", update)):
        times = [await timed(call) for _ in range(300)]
        average, _, p95 = spread(times)
        bound = "an older service: 2.6 ms" if name == "insert" else ""
        aim = "a prototype: 0.76 ms" if name == "insert" else ""
        within = name != "insert" or average < 2.6
        bench.add(f"rows: {name}", bound, aim, f"avg {average:.2f} ms, P95 {p95:.2f} ms", within)
    began = time.perf_counter()

    async def many() -> None:
        for _ in range(125):
            await insert()

    await asyncio.gather(*(many() for _ in range(16)))
    rate = 2_000 / (time.perf_counter() - began)
    bench.add("rows: inserts, 16 in flight", "370/s", "2,741/s", f"{rate:,.0f}/s", rate > 370)


async def measure(place: Path, *, seconds: float, only: str, quick: bool) -> Bench:
    with NatsServer(place / "nats") as server:
        bench = Bench(place, server)
        await bench.open()
        try:
            if only != "memory":
                await single(bench)
                await reply(bench)
                await publishers(bench)
                await sustained(bench, 2 if quick else 10)
                await burst(bench)
                await cpu(bench, 3 if quick else 10)
            await memory(bench, seconds)
            if only != "memory":
                await mixed(bench)
                await restart(bench)
                await rows(bench)
        finally:
            await bench.close()
    return bench


def page(bench: Bench, where: str, remark: str) -> str:
    words = {True: "within", False: "**over**"}
    version = ".".join(map(str, version_of(program())))
    lines = [
        "# The database service: benchmarks",
        "",
        "Written by `make bench-nats`. An event counts from its publication until another process reads from",
        "the SQLite file that it is stored, with durability `full`. The service is a process of its own;",
        f"the server is nats-server {version} with JetStream, on the loopback.",
        "",
        f"Measured {time.strftime('%Y-%m-%d', time.gmtime())} on {where}.{remark}",
        "",
        "| work | bound | aim | measured | |",
        "|---|---|---|---|---|",
        *(
            f"| {one.name} | {one.bound} | {one.aim} | {one.found} | {words[one.within]} |"
            for one in bench.results
        ),
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-nats", description=__doc__)
    parser.add_argument("--only", choices=["memory"], default="", help="the memory alone, for `make soak`")
    parser.add_argument("--minutes", type=float, default=1.0, help="of the memory (default: 1)")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--remark", default="", help="a sentence for the page, such as what else was running")
    parser.add_argument("--no-page", action="store_true", help="leave docs/benchmarks/nats.md as it is")
    options = parser.parse_args()
    where = machine(real_disk())
    print(f"{where}\n")
    with tempfile.TemporaryDirectory(prefix="abathur-bench-", dir=real_disk()) as place:
        seconds = 5.0 if options.quick else options.minutes * 60
        bench = asyncio.run(measure(Path(place), seconds=seconds, only=options.only, quick=options.quick))
    if not (options.quick or options.only or options.no_page):
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page(bench, where, f" {options.remark}" if options.remark else ""), encoding="utf-8")
        print(f"\nwritten to {PAGE.relative_to(Path.cwd()) if PAGE.is_relative_to(Path.cwd()) else PAGE}")
    over = [one.name for one in bench.results if not one.within]
    print("\nall within their bounds" if not over else f"\nover: {', '.join(over)}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
