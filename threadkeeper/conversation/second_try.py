"""The button "Try again": under an error, and under the end of a thread that was left without an answer."""

from typing import Any

from threadkeeper.conversation.language import language_of_session
from threadkeeper.conversation.reply import FINAL, say_error, try_again
from threadkeeper.conversation.turn_order import SessionTurns


async def say_error_with_button(
    sentence: str, question_id: str, language: str, turns: SessionTurns, *, model: str | None = None
) -> None:
    """Put an error on the page, with the button that asks the question again.

    Args:
        turns: those of the current session; they remember the button.
        model: the one that failed, if one did.
    """
    action = try_again(question_id, language)
    turns.second_try = action
    await say_error(sentence, action, model=model)


async def remove_button(turns: SessionTurns) -> None:
    """Take the button of an earlier error away, because the conversation goes on."""
    if turns.second_try is not None:
        await turns.second_try.remove()
        turns.second_try = None


async def offer_second_try(steps: list[dict[str, Any]], turns: SessionTurns) -> None:
    """Put the button back on a resumed thread that ends with an error, a cut answer or no answer.

    Args:
        steps: the StepDicts of the thread, oldest first.
    """
    messages = [step for step in steps if step["type"] in ("user_message", "assistant_message")]
    questions = [step for step in messages if step["type"] == "user_message"]
    if not questions:
        return
    last = messages[-1]
    is_cut = last.get("streaming") or (last.get("metadata") or {}).get("status") == "cut"
    failed = last["type"] == "assistant_message" and (last.get("isError") or is_cut)
    is_final = (last.get("metadata") or {}).get(FINAL)
    if (failed and not is_final) or last["type"] == "user_message":
        turns.second_try = try_again(questions[-1]["id"], language_of_session())
        await turns.second_try.send(for_id=last["id"])
