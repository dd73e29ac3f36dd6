"""ruvon: workflows in this process, their state recorded in SQLite after every step."""

import asyncio
import os

from flow import definition
from ruvon.engine import WorkflowEngine
from ruvon.implementations.execution.sync import SyncExecutor
from ruvon.implementations.expression_evaluator.simple import SimpleExpressionEvaluator
from ruvon.implementations.observability.noop import NoopWorkflowObserver
from ruvon.implementations.persistence.sqlite import SQLitePersistenceProvider
from ruvon.implementations.templating.jinja2 import Jinja2TemplateEngine
from serving import serve


async def main():
    persistence = SQLitePersistenceProvider(db_path=f"{os.environ['DATA']}/ruvon.db")
    engine = WorkflowEngine(
        workflow_registry={f"steps-{count}": definition(count) for count in (1, 10, 100)},
        persistence=persistence,
        executor=SyncExecutor(),
        observer=NoopWorkflowObserver(),
        expression_evaluator_cls=SimpleExpressionEvaluator,
        template_engine_cls=Jinja2TemplateEngine,
    )
    await persistence.initialize()
    await engine.initialize()
    async with persistence.conn.execute("pragma synchronous") as cursor:
        assert await cursor.fetchone() == (2,), "SQLite's synchronous is not FULL"

    async def steps(count):
        run = await engine.start_workflow(f"steps-{count}")
        assert run.status == "COMPLETED", run.status
        return run.state.value

    await serve({"steps": steps})


asyncio.run(main())
