"""DBOS: workflows in this process, their steps recorded in SQLite or PostgreSQL."""

import asyncio
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor

from dbos import DBOS
from serving import effect, serve

# Workflows at once; with 32 threads it does more than with asynchronous workflows, or with more threads.
THREADS = 32


def url():
    if os.environ["DATABASE"] == "postgres":
        return os.environ["DATABASE_URL"]
    path = f"{os.environ['DATA']}/dbos.db"
    # DBOS leaves the journal as it finds it, and a new file has none that lets people read while somebody writes.
    with sqlite3.connect(path) as database:
        database.execute("pragma journal_mode = wal")
    return f"sqlite:///{path}"


DBOS(
    config={
        "name": "bench",
        "system_database_url": url(),
        "sys_db_pool_size": 20,
        "log_level": "ERROR",
        "run_admin_server": False,
    }
)


@DBOS.step()
def increment(value):
    effect()
    return value + 1


@DBOS.workflow()
def steps(count):
    value = 0
    for _ in range(count):
        value = increment(value)
    return value


@DBOS.step()
async def increment_beside(value):
    effect()
    return value + 1


@DBOS.workflow()
async def fan_out(count):
    return sum(await asyncio.gather(*[increment_beside(0) for _ in range(count)]))


async def main():
    DBOS.launch()
    threads = ThreadPoolExecutor(THREADS)
    loop = asyncio.get_running_loop()
    await serve({"steps": lambda count: loop.run_in_executor(threads, steps, count), "fan-out": fan_out})


asyncio.run(main())
