"""The job that gives a thread the title that was not made after its first answer: the model was away, or the server
stopped.

The title itself is made right after the answer, without a job (`conversation/turn.py`), because a job for each title
would cost a third of what the answer costs (ADR 0030).
"""

from typing import TYPE_CHECKING

from datalayer import JobContext
from datalayer.errors import JobLater
from threadkeeper.chat.model import Model, Purpose
from threadkeeper.chat.titles import TitleMissed, first_name, make_title

if TYPE_CHECKING:
    from datalayer.chainlit_layer import ChainlitLayer

TITLE = "title"
_PAUSES_SECONDS = (60.0, 300.0, 1800.0, 7200.0)
"""Between the tries; after the last one the job fails, and the thread keeps its first question as its name."""


def register_titles(layer: "ChainlitLayer", model: Model, title_model: str) -> None:
    async def title(context: JobContext) -> None:
        # Ids alone, because a job outlives its thread.
        thread_id, question_id, answer_id = (str(context.arguments[key]) for key in ("thread", "question", "answer"))
        thread = await layer.get_thread(thread_id)
        if thread is None:
            return
        texts = {step["id"]: step["output"] for step in thread["steps"]}
        # Until it has a title, a thread is named after its first question.
        first = next((step["output"] for step in thread["steps"] if step["type"] == "user_message"), None)
        if (
            first is None
            or first_name(thread["name"] or "") != first_name(first)
            or not {question_id, answer_id} <= texts.keys()
        ):
            return
        texts_of = (texts[question_id], texts[answer_id])
        purpose = Purpose("title", user_id=thread["userId"], thread_id=thread_id)
        try:
            made = await make_title(model, *texts_of, title_model=title_model, purpose=purpose)
        except TitleMissed as error:
            raise JobLater(str(error), _PAUSES_SECONDS[min(context.interruptions, len(_PAUSES_SECONDS) - 1)]) from error
        if made is not None:
            await layer.replace_thread_name(thread_id, thread["name"], made)

    layer.register_job(TITLE, title)
