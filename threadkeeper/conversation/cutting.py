"""The steps before a question: those of its context. What followed a question that is asked again is deleted."""

from typing import Any

import chainlit as cl

from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.conversation.reply import asking_program


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
    """The steps without the new question and its run. Ids decide, because clocks can differ.

    Behind a question that waited for its answer there may be later ones.
    """
    run = cl.context.current_run
    own = {message.id, run.id if run else None}
    steps: list[dict[str, Any]] = thread["steps"]
    program = asking_program.get()
    if program is not None and program.is_stored:
        steps = steps_of_earlier_questions(steps, message.id)
    return [step for step in steps if step["id"] not in own]


def steps_of_earlier_questions(steps: list[dict[str, Any]], question_id: str) -> list[dict[str, Any]]:
    """The steps before a stored question. Those that came behind it stand after the others of their question."""
    at = next((at for at, step in enumerate(steps) if step["id"] == question_id), len(steps))
    # Each step of a question, with its question. A run is a step of its question, and an answer one of its run; the run
    # may have begun before the stored question came, and its answer behind it.
    asked: dict[str, str] = {}
    newest: dict[str, str] = {}
    for step in steps[:at]:
        question = step["id"] if step["type"] == "user_message" else asked.get(step.get("parentId") or "")
        if question is not None:
            asked[step["id"]] = question
            newest[question] = step["id"]
    late: dict[str, list[dict[str, Any]]] = {}
    for step in steps[at + 1 :]:
        if (question := asked.get(step.get("parentId") or "")) is not None:
            asked[step["id"]] = question
            late.setdefault(newest[question], []).append(step)
    return [one for step in steps[:at] for one in (step, *late.get(step["id"], ()))]
