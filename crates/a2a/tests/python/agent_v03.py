"""An agent on the official Python SDK 0.3.x, scripted by the text of its messages. Speaks JSON-RPC 0.3 at /.

Prints its base URL on the first line of standard output.
"""

import asyncio
import socket

import uvicorn
from a2a.server.agent_execution import AgentExecutor
from a2a.server.apps import A2AStarletteApplication
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentSkill,
    DataPart,
    FilePart,
    FileWithBytes,
    Part,
    TaskState,
    TextPart,
)
from a2a.utils.message import get_message_text, new_agent_text_message
from a2a.utils.parts import get_data_parts
from a2a.utils.task import new_task


def text_part(text):
    return Part(root=TextPart(text=text))


class Scripted(AgentExecutor):
    async def execute(self, context, event_queue):
        text = get_message_text(context.message)
        if text == 'direct':
            await event_queue.enqueue_event(new_agent_text_message('hello', context_id=context.context_id))
            return
        task = context.current_task
        if task is None:
            task = new_task(context.message)
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        if task.status.state == TaskState.input_required:
            await updater.add_artifact([text_part(f'to {text}')])
            await updater.complete()
            return

        def say(words):
            return updater.new_agent_message([text_part(words)])

        if text == 'complete':
            await updater.add_artifact([text_part('done')])
            await updater.complete()
        elif text == 'data':
            data = get_data_parts(context.message.parts)
            await updater.add_artifact([Part(root=DataPart(data=d)) for d in data])
            await updater.complete()
        elif text == 'file':
            file = FileWithBytes(bytes='AP8=', mime_type='application/x-test', name='a.bin')
            await updater.add_artifact([Part(root=FilePart(file=file))])
            await updater.complete()
        elif text == 'slow':
            for fraction in (0.25, 0.75):
                await updater.update_status(
                    TaskState.working,
                    message=say(f'at {fraction}'),
                    metadata={'orchestra.progress': fraction},
                )
                await asyncio.sleep(0.1)
            await updater.add_artifact([text_part('done')])
            await updater.complete()
        elif text == 'chunks':
            for n, words in enumerate(('once ', 'upon ', 'a time')):
                await updater.add_artifact([text_part(words)], artifact_id='story', append=n > 0, last_chunk=n == 2)
            await updater.complete()
        elif text == 'ask':
            await updater.requires_input(say('which city?'), final=True)
        elif text == 'fail':
            await updater.failed(say('no luck'))
        elif text == 'reject':
            await updater.reject(say('not my work'))
        elif text == 'wait':
            await updater.start_work()
            await asyncio.Event().wait()
        else:
            raise RuntimeError('crashed as scripted')

    async def cancel(self, context, event_queue):
        updater = TaskUpdater(event_queue, context.task_id, context.context_id)
        await updater.cancel()


async def main():
    sock = socket.socket()
    sock.bind(('127.0.0.1', 0))
    sock.listen(128)
    base = f'http://127.0.0.1:{sock.getsockname()[1]}'
    card = AgentCard(
        name='scripted',
        description='does what it is told',
        version='1.0.0',
        url=f'{base}/',
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=['text/plain'],
        default_output_modes=['text/plain'],
        skills=[AgentSkill(id='script', name='Script', description='does what it is told', tags=['test'])],
    )
    handler = DefaultRequestHandler(agent_executor=Scripted(), task_store=InMemoryTaskStore())
    app = A2AStarletteApplication(agent_card=card, http_handler=handler).build()
    config = uvicorn.Config(app, log_level='warning')
    print(base, flush=True)
    await uvicorn.Server(config).serve(sockets=[sock])


asyncio.run(main())
