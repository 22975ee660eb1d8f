"""Workflows for tests, run by Temporal's own Python SDK: worker.py ADDRESS TASK_QUEUE. Says `ready` once it polls."""

import asyncio
import sys
from typing import Any

from temporalio import workflow
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker


@workflow.defn(name="echo")
class Echo:
    @workflow.run
    async def run(self, value: Any = None) -> Any:
        return value


@workflow.defn(name="fail")
class Fail:
    @workflow.run
    async def run(self, _: Any = None) -> Any:
        raise ApplicationError("it is broken")


@workflow.defn(name="refuse")
class Refuse:
    @workflow.run
    async def run(self, _: Any = None) -> Any:
        raise ApplicationError("the card is broken", non_retryable=True)


@workflow.defn(name="wait")
class Wait:
    def __init__(self) -> None:
        self.told: list[Any] = []

    @workflow.run
    async def run(self, _: Any = None) -> Any:
        await workflow.wait_condition(lambda: bool(self.told))
        return self.told[0]

    @workflow.signal(name="go")
    def go(self, value: Any = None) -> None:
        self.told.append(value)

    @workflow.query(name="state")
    def state(self) -> Any:
        return {"told": self.told}


@workflow.defn(name="chapters")
class Chapters:
    """Goes on as a new run twice before it ends."""

    @workflow.run
    async def run(self, chapter: int = 1) -> Any:
        if chapter < 3:
            workflow.continue_as_new(chapter + 1)
        return {"chapter": chapter}


async def main(address: str, queue: str) -> None:
    client = await Client.connect(address)
    workflows = [Echo, Fail, Refuse, Wait, Chapters]
    runner = UnsandboxedWorkflowRunner()
    async with Worker(client, task_queue=queue, workflows=workflows, workflow_runner=runner):
        print("ready", flush=True)
        await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
