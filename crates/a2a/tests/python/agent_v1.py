"""An agent on the official Python SDK 1.x, scripted by the text of its messages.

Speaks JSON-RPC 1.0 and 0.3 (the SDK's compatibility layer) at /rpc and HTTP+JSON 1.0 at /rest.
Prints its base URL on the first line of standard output.
"""

import asyncio
import socket

import uvicorn
from a2a.helpers.proto_helpers import (
    get_data_parts,
    get_message_text,
    new_data_part,
    new_raw_part,
    new_task_from_user_message,
    new_text_message,
    new_text_part,
)
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, TaskState
from starlette.applications import Starlette


class Scripted(AgentExecutor):
    async def execute(self, context, event_queue):
        text = get_message_text(context.message)
        if text == 'direct':
            await event_queue.enqueue_event(new_text_message('hello', context_id=context.context_id))
            return
        task = context.current_task
        if task is None:
            task = new_task_from_user_message(context.message)
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        if task.status.state == TaskState.TASK_STATE_INPUT_REQUIRED:
            await updater.add_artifact([new_text_part(f'to {text}')])
            await updater.complete()
            return

        def say(words):
            return updater.new_agent_message([new_text_part(words)])

        if text == 'complete':
            await updater.add_artifact([new_text_part('done')])
            await updater.complete()
        elif text == 'data':
            await updater.add_artifact([new_data_part(d) for d in get_data_parts(context.message.parts)])
            await updater.complete()
        elif text == 'file':
            await updater.add_artifact([new_raw_part(b'\x00\xff', media_type='application/x-test', filename='a.bin')])
            await updater.complete()
        elif text == 'slow':
            for fraction in (0.25, 0.75):
                await updater.update_status(
                    TaskState.TASK_STATE_WORKING,
                    message=say(f'at {fraction}'),
                    metadata={'orchestra.progress': fraction},
                )
                await asyncio.sleep(0.1)
            await updater.add_artifact([new_text_part('done')])
            await updater.complete()
        elif text == 'chunks':
            for n, words in enumerate(('once ', 'upon ', 'a time')):
                await updater.add_artifact(
                    [new_text_part(words)], artifact_id='story', append=n > 0, last_chunk=n == 2
                )
            await updater.complete()
        elif text == 'ask':
            await updater.requires_input(say('which city?'))
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
        supported_interfaces=[
            AgentInterface(url=f'{base}/rpc', protocol_binding='JSONRPC', protocol_version='1.0'),
            AgentInterface(url=f'{base}/rest', protocol_binding='HTTP+JSON', protocol_version='1.0'),
            AgentInterface(url=f'{base}/rpc', protocol_binding='JSONRPC', protocol_version='0.3'),
        ],
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=['text/plain'],
        default_output_modes=['text/plain'],
        skills=[AgentSkill(id='script', name='Script', description='does what it is told', tags=['test'])],
    )
    handler = DefaultRequestHandler(agent_executor=Scripted(), task_store=InMemoryTaskStore(), agent_card=card)
    routes = [
        *create_agent_card_routes(card),
        *create_jsonrpc_routes(handler, '/rpc', enable_v0_3_compat=True),
        *create_rest_routes(handler, path_prefix='/rest'),
    ]
    config = uvicorn.Config(Starlette(routes=routes), log_level='warning')
    print(base, flush=True)
    await uvicorn.Server(config).serve(sockets=[sock])


asyncio.run(main())
