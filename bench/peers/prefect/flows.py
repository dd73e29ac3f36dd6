"""Prefect: flows in this process, their state kept by its server, which has SQLite."""

import asyncio
import logging
import os
import urllib.request

# Not counted in the server's memory: what it runs is the user's.
with open("/proc/self/comm", "w") as name:
    name.write("application")
logging.disable(logging.CRITICAL)

from prefect import flow, task  # noqa: E402
from prefect.task_runners import ThreadPoolTaskRunner  # noqa: E402
from serving import effect, serve  # noqa: E402


@task(persist_result=True)
async def increment(value):
    effect()
    return value + 1


@task(persist_result=True)
def increment_in_thread(value):
    effect()
    return value + 1


@flow
async def steps(count):
    value = 0
    for _ in range(count):
        value = await increment(value)
    return value


@flow(task_runner=ThreadPoolTaskRunner(max_workers=50))
def fan_out(count):
    return sum(future.result() for future in increment_in_thread.map([0] * count))


async def main():
    health = os.environ["PREFECT_API_URL"] + "/health"
    while True:
        try:
            await asyncio.to_thread(urllib.request.urlopen, health, timeout=2)
            break
        except OSError:
            await asyncio.sleep(0.1)
    await serve({"steps": steps, "fan-out": lambda count: asyncio.to_thread(fan_out, count)})


asyncio.run(main())
