"""The steps before a question: those of its context. What followed a question that is asked again is deleted."""

from typing import Any

import chainlit as cl

from datalayer.chainlit_layer import ChainlitLayer


async def cut_what_followed(layer: ChainlitLayer, thread: dict[str, Any], message: cl.Message) -> list[dict[str, Any]]:
    """The steps before a question that is asked again. The steps after it are deleted."""
    steps: list[dict[str, Any]] = thread["steps"]
    position = next((at for at, step in enumerate(steps) if step["id"] == message.id), None)
    if position is None:
        return steps_before(thread, message)
    run = cl.context.current_run
    own = {run.id} if run else set()
    followed = [step for step in steps[position + 1 :] if step["id"] not in own]
    if followed:
        await layer.cut_thread(message.thread_id, message.id, keep=own)
        for step in followed:
            await cl.context.emitter.delete_step(step)  # type: ignore[arg-type]
    return steps[:position]


def steps_before(thread: dict[str, Any], message: cl.Message) -> list[dict[str, Any]]:
    """The steps without the new question and its run. Ids decide, because clocks can differ."""
    run = cl.context.current_run
    own = {message.id, run.id if run else None}
    return [step for step in thread["steps"] if step["id"] not in own]
