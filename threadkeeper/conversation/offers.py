"""The buttons under the last answer: "Try again", "Regenerate", "Continue", and the way between versions.

The state of the answer decides which of them there are. They are sent after each turn and when a thread is resumed, and
removed when the conversation goes on.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import chainlit as cl

from threadkeeper.chat.context.refusals import WITHOUT_FILES, refused_ids
from threadkeeper.chat.context.steps import is_notice, metadata_of
from threadkeeper.chat.wording import say
from threadkeeper.citations import CITED, SOURCES
from threadkeeper.conversation.notices import last_notice, notice
from threadkeeper.conversation.reply import FINAL, say_error
from threadkeeper.conversation.turn_order import SessionTurns, Turns
from threadkeeper.conversation.versions import Versions

TRY_AGAIN, REGENERATE, CONTINUE, VERSION = "try_again", "regenerate", "continue_answer", "show_version"
ASK = "ask_prompt"
_EARLIER = "-earlier"
"""The end of the ids of version buttons while another version than the current one is shown."""
UNFINISHED = ("stopped", "cut", "length")
"""The states of an answer that can be continued."""


def try_again(question_id: str, language: str, *, model: str, without_files: bool = False) -> cl.Action:
    """The button that asks a question again that has no answer.

    Args:
        question_id: the question.
        language: of the user.
        model: the one that was picked for the question. It is asked again, whatever is picked since.
        without_files: the files of the question were refused and are dropped.
    """
    sentence = "ask_without_files" if without_files else TRY_AGAIN
    payload = {"question_id": question_id}
    return _button(TRY_AGAIN, question_id, "rotate-ccw", payload, language, sentence=sentence, model=model)


def buttons_of(status: str | None, question_id: str, answer_id: str, language: str, *, model: str) -> list[cl.Action]:
    """The buttons under an answer in this state. A cut one has "Try again" elsewhere.

    `model`: the one that was picked for the question. It answers again, whatever is picked since.
    """
    buttons = []
    if status in UNFINISHED:
        buttons.append(_button(CONTINUE, answer_id, "step-forward", {"answer_id": answer_id}, language, model=model))
    if status != "cut":
        again = {"question_id": question_id}
        buttons.append(_button(REGENERATE, answer_id, "refresh-cw", again, language, model=model))
    return buttons


def prompt_buttons(prompts: Sequence[str], about: str, language: str) -> list[cl.Action]:
    """A button for each text that a click asks: the tips of an assistant, or its opening prompts."""
    return [
        cl.Action(
            id=f"{ASK}-{number}-{about}",
            name=ASK,
            payload={"prompt": text},
            label=" ".join(text.split()),
            tooltip=say("ask_prompt_hint", language),
            icon="message-circle-question",
        )
        for number, text in enumerate(prompts)
    ]


def version_buttons(versions: Versions, at: int, language: str) -> list[cl.Action]:
    """The buttons around the number of the version that is shown. At either end, there is one with the number."""
    count = len(versions.all)
    number = f"{at + 1}/{count}"
    buttons = []
    if at > 0:
        buttons.append(_version_button("previous", f"\u2039 {number}", versions, at - 1, language))
    if at < count - 1:
        buttons.append(_version_button("next", "\u203a" if at > 0 else f"{number} \u203a", versions, at + 1, language))
    for button in buttons:
        # For `public/page/page.css`: a vote counts for the current version, so another one has no thumbs.
        button.id += _EARLIER if at != versions.at else ""
    return buttons


def _version_button(direction: str, label: str, versions: Versions, to: int, language: str) -> cl.Action:
    return cl.Action(
        id=f"{VERSION}-{direction}-{versions.answer_id}",
        name=VERSION,
        payload={"question_id": versions.question_id, "to": to},
        label=label,
        tooltip=say(f"version_{direction}", language),
    )


async def show_earlier(steps: Sequence[Mapping[str, Any]], versions: Versions, to: int, language: str) -> None:
    """Show another version on the page, where the conversation has gone on: only the page changes."""
    version, count = versions.all[to], len(versions.all)
    shown = {versions.question_id: version.question, versions.answer_id: version.answer}
    if to != versions.at:
        note = say("version_shown", language, number=to + 1, count=count, current=versions.at + 1)
        shown[versions.answer_id] += f"\n\n*{note}*"
    for step in steps:
        if step["id"] in shown:
            changed = {**step, "output": shown[step["id"]]}
            if to != versions.at:
                # Another text cites other passages.
                changed["metadata"] = {k: v for k, v in metadata_of(step).items() if k not in (CITED, SOURCES)}
            await cl.context.emitter.update_step(changed)  # type: ignore[arg-type]
    await renew_version_buttons(versions, to, language)


async def renew_version_buttons(versions: Versions, at: int, language: str) -> None:
    """Send the buttons again. The page keeps those of a removed answer, which may have been put back."""
    for direction in ("previous", "next"):
        button = _version_button(direction, "", versions, at, language)
        for ending in ("", _EARLIER):
            button.id = f"{VERSION}-{direction}-{versions.answer_id}{ending}"
            await button.remove()
    for button in version_buttons(versions, at, language):
        await button.send(for_id=versions.answer_id)


async def offer(turns: Turns, session: Any, buttons: Sequence[cl.Action], for_id: str) -> None:
    """Show the buttons under a message, until the conversation goes on."""
    for button in buttons:
        await button.send(for_id=for_id)
    # A page that resumed the thread during the turn shows them as well.
    emitter = cl.context.emitter
    for one in getattr(emitter, "sessions", [session]):
        turns.of(one).offers.extend(buttons)


async def remove_offers(turns: SessionTurns) -> None:
    """Remove the buttons, because the conversation continues."""
    removed = list(turns.offers)
    # At once: what sends the buttons again meanwhile must not find one that is removed already.
    turns.offers.clear()
    for button in removed:
        await button.remove()


async def say_error_with_button(
    sentence: str, question_id: str, language: str, turns: Turns, session: Any, *, model: str
) -> None:
    """Put an error on the page, with the button that asks the question again. `model`: as in `try_again`."""
    error = await say_error(sentence)
    await offer(turns, session, [try_again(question_id, language, model=model)], error.id)


async def offer_for_thread(
    turns: Turns,
    session: Any,
    thread: dict[str, Any],
    language: str,
    *,
    is_again: bool,
    among: Collection[str] | None = None,
) -> None:
    """Show the buttons of a thread that a page shows whole, before its unfinished answers are marked.

    Args:
        turns, session, thread, language: of the page.
        is_again: the page had buttons, which are removed.
        among: only under one of these steps.
    """
    of_page = turns.of(session)
    questions = [step for step in thread["steps"] if step["type"] == "user_message"]
    picked = of_page.answerer.model(questions[-1].get("modes") if questions else None)
    offered = offers_of_thread(thread, language, model=picked)
    if offered is None or (among is not None and offered[0] not in among):
        return
    (for_id, buttons), assistant = offered, of_page.answerer.assistant
    if assistant is not None and thread["steps"][-1]["id"] == for_id:
        buttons = [*buttons, *prompt_buttons(assistant.settings.tips, for_id, language)]
    if is_again:
        # A page that connects again, as after it has changed to the thread's profile, keeps its buttons.
        await remove_offers(of_page)
    await offer(turns, session, buttons, for_id)


def offers_of_thread(thread: Mapping[str, Any], language: str, *, model: str) -> tuple[str, list[cl.Action]] | None:
    """The buttons of a resumed thread, and the message that has them: the last one that is not a notice.

    Args:
        thread: the ThreadDict. If it ends with a question, a notice is added for the page, because Chainlit shows no
            buttons under questions.
        model: the one that was picked for the last question.
    """
    steps: list[dict[str, Any]] = thread["steps"]
    said = [step for step in steps if step["type"] in ("user_message", "assistant_message") and not is_notice(step)]
    questions = [step for step in said if step["type"] == "user_message"]
    if not questions:
        return None
    last, question_id = said[-1], questions[-1]["id"]
    metadata = last.get("metadata") or {}
    status = "cut" if last.get("streaming") else metadata.get("status")
    if last["type"] == "user_message":
        if not (steps[-1]["type"] == "assistant_message" and is_notice(steps[-1])):
            steps.append(dict(notice(say("unanswered", language)).to_dict()))
        return steps[-1]["id"], [try_again(question_id, language, model=model)]
    if last.get("isError"):
        without_files = drops_files(thread, questions[-1])
        return (
            None
            if metadata.get(FINAL)
            else (last["id"], [try_again(question_id, language, model=model, without_files=without_files)])
        )
    buttons = buttons_of(status, question_id, last["id"], language, model=model)
    return last["id"], [try_again(question_id, language, model=model), *buttons] if status == "cut" else buttons


def drops_files(thread: Mapping[str, Any], question: Mapping[str, Any]) -> bool:
    """Whether the files of this question were refused, so that it is asked again without them."""
    has_files = any(element.get("forId") == question["id"] for element in thread.get("elements") or ())
    is_dropped = bool(metadata_of(question).get(WITHOUT_FILES))
    return has_files and not is_dropped and question["id"] in refused_ids(thread["steps"])


async def say_stopped(question_id: str, language: str, turns: Turns, session: Any, *, model: str) -> None:
    """Say that an answer was stopped before its first word, with the button that asks again."""
    message = last_notice(say("stopped_before", language))
    await message.send()
    await offer(turns, session, [try_again(question_id, language, model=model)], message.id)


def _button(
    name: str,
    about: str,
    icon: str,
    payload: dict[str, str],
    language: str,
    *,
    sentence: str | None = None,
    **facts: str,
) -> cl.Action:
    """`sentence`: the key of label and tooltip, if it is not the name. `facts`: the values that the tooltip names."""
    label, tooltip = say(sentence or name, language), say(f"{sentence or name}_hint", language, **facts)
    return cl.Action(id=f"{name}-{about}", name=name, payload=payload, label=label, tooltip=tooltip, icon=icon)
