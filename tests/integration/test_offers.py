"""What can be done with an answer: regenerate, continue, go between versions; and a page that comes back during one."""

from typing import Any

import pytest

from datalayer import AnswerFilter
from tests.support.chat_client import ChatClient
from tests.support.shared_server import Chat
from threadkeeper.chat.context.history import CONTINUE_PROMPT
from threadkeeper.chat.wording import say
from threadkeeper.web.review.transcript import shown_thread

pytestmark = pytest.mark.slow

SETTINGS = {
    "OPENAI_MODELS": "echo,context-echo,slow:40:0.05,length,cut:3,hang,500,500:1,think:reasoning_content:0.05",
    "OPENAI_TITLE_MODEL": "say:A Fine Title",
}


def use(model: str) -> dict[str, str]:
    return {"model": model}


async def press(client: ChatClient, name: str, *, at: int = -1, until: str = "task_end") -> None:
    """Press the newest button with this name, and wait for this event."""
    buttons = [data for event, data in client.events if event == "action" and data["name"] == name]
    seen = len(client.events)
    body = {"sessionId": client.session_id, "action": buttons[at]}
    (await client.http.post("/project/action", json=body)).raise_for_status()
    await client.until(lambda: any(event == until for event, _ in client.events[seen:]))


async def stored(client: ChatClient) -> list[dict[str, Any]]:
    """The messages as stored."""
    thread = (await client.http.get(f"/project/thread/{client.thread_id}")).raise_for_status().json()
    return [step for step in thread["steps"] if step["type"].endswith("_message")]


def outputs(steps: list[dict[str, Any]]) -> list[str]:
    return [step["output"] for step in steps]


def buttons(client: ChatClient, since: int = 0) -> list[str]:
    shown: dict[str, str] = {}
    for event, data in client.events[since:]:
        if event == "action":
            shown[data["id"]] = data["name"]
        elif event == "remove_action":
            shown.pop(data["id"], None)
    return sorted(name for name in shown.values() if name != "usage")


async def edit(client: ChatClient, question: str, text: str, model: str) -> None:
    """Edit the question, and wait for the end of its turn."""
    step = next(one for one in await stored(client) if one["output"] == question)
    seen = len(client.events)
    await client.emit("edit_message", {"message": {**step, "output": text, "modes": use(model)}})
    await client.until(lambda: any(event == "task_end" for event, _ in client.events[seen:]))


def tooltip(client: ChatClient, name: str) -> str:
    """The tooltip of the newest button with this name."""
    sent = [data for event, data in client.events if event == "action" and data["name"] == name]
    return str(sent[-1]["tooltip"])


def numbers(client: ChatClient) -> list[str]:
    """The numbers of versions that the page has shown, in order."""
    sent = [data for event, data in client.events if event == "action" and data["name"] == "show_version"]
    return [data["label"] for data in sent if "/" in data["label"]]


async def test_a_good_answer_is_regenerated_and_both_versions_stay(chat: Chat) -> None:
    await chat.add_user("ann")
    async with chat.client("ann") as client:
        await client.ask("one", modes=use("context-echo"))
        first = client.answer
        assert buttons(client) == ["regenerate"]
        await client.ask("two", modes=use("context-echo"))
        assert buttons(client) == ["regenerate"], "the button is under the last answer alone"
        actions = [data for event, data in client.events if event == "action" and data["name"] == "regenerate"]
        hint = say("regenerate_hint", "en", model="context-echo")
        assert {one["tooltip"] for one in actions} == {hint}, "the model that answers again is named"
        second = client.answer
        await edit(client, "two", "two, edited", "context-echo")
        third = client.answer
        assert buttons(client) == ["regenerate", "show_version"]
        await press(client, "show_version")
        assert outputs(await stored(client)) == ["one", first, "two", second]
        # What is shown is what the model gets.
        await client.ask("three", modes=use("context-echo"))
        assert '"two"' in client.answer
        assert "edited" not in client.answer
        before = outputs(await stored(client))
        seen = len(client.events)
        await press(client, "show_version", until="update_message")
        note = say("version_shown", "en", number=2, count=2, current=1)
        shown = f"{third}\n\n*{note}*"
        await client.until(
            lambda: any(event == "update_message" and data["output"] == shown for event, data in client.events[seen:])
        )
        assert outputs(await stored(client)) == before, "where the conversation has gone on, only the page changes"
    async with chat.client("ann", thread_id=client.thread_id) as client:
        await client.until(lambda: buttons(client) == ["regenerate", "show_version"])


async def test_each_edit_of_an_earlier_question_is_a_version(chat: Chat) -> None:
    await chat.add_user("ann")
    async with chat.client("ann") as client:
        await client.ask("gamma one", modes=use("echo"))
        await client.ask("delta", modes=use("echo"))
        await edit(client, "gamma one", "gamma two", "echo")
        assert numbers(client)[-1] == "\u2039 2/2"
        await edit(client, "gamma two", "gamma three", "echo")
        assert numbers(client)[-1] == "\u2039 3/3"
        await press(client, "show_version")
        assert outputs(await stored(client)) == ["gamma two", "You said: gamma two"]
        assert numbers(client)[-1] == "\u2039 2/3"
    async with chat.client("ann", thread_id=client.thread_id) as client:
        await client.until(lambda: buttons(client) == ["regenerate", "show_version", "show_version"])
        assert numbers(client) == ["\u2039 2/3"]


async def test_a_version_that_is_put_back_has_its_model_usage_and_vote(chat: Chat) -> None:
    await chat.add_user("ann")
    async with chat.client("ann") as client:
        await client.ask("one", modes=use("echo"))
        (before,) = [step for step in await stored(client) if step["type"] == "assistant_message"]
        vote = (await client.http.put("/page/vote", json={"answer": before["id"], "value": 0})).json()
        reasons = {"step": vote["step"], "reasons": ["incomplete"]}
        (await client.http.put("/page/reasons", json=reasons)).raise_for_status()
        await edit(client, "one", "two", "echo")
        await press(client, "show_version")
        (after,) = [step for step in await stored(client) if step["type"] == "assistant_message"]
        assert (after["id"], after["output"]) == (before["id"], "You said: one")
        lost = before["metadata"].keys() - after["metadata"].keys()
        assert lost == {"context"}, "how full the window was at that time is not kept with a version"
        for key in ("model", "usage", "answered_by"):
            assert after["metadata"][key] == before["metadata"][key]
        (run,) = [step for step in await thread_steps(client) if step.get("feedback")]
        assert (run["type"], run["feedback"]["value"]) == ("run", 0)
        assert client.steps[run["id"]]["feedback"] == run["feedback"], "the page gets the vote"
        events = [data for event, data in client.events if event == "update_message" and data["id"] == run["id"]]
        votes, ends = ([key in one and one[key] is not None for one in events] for key in ("feedback", "end"))
        assert votes.index(True) < ends.index(True), "the page reads the vote when the run ends"
        assert len(client.footers()) == 3
        assert client.footers()[2] == client.footers()[0]
        removals = [data["id"] for event, data in client.events if event == "remove_action"]
        assert f"usage-{before['id']}" in removals, "the page still has the line of the first time"
        async with chat.layer() as layer:
            found = await layer.open_thread_for_review(client.thread_id or "")
            rows = (await layer.list_answers(AnswerFilter(users=(chat.name("ann"),)))).rows
        assert found is not None
        assert [(one.value, one.reasons) for one in found.votes][-1] == (0, ("incomplete",))
        (row,) = [one for one in rows if one.step_id == before["id"]]
        assert (row.model, row.thumb, row.is_removed) == ("echo", "down", False)
        assert row.tokens
        # A vote that was taken back does not return.
        withdrawal = {"feedbackId": run["feedback"]["id"]}
        (await client.http.request("DELETE", "/feedback", json=withdrawal)).raise_for_status()
        await press(client, "show_version")
        await press(client, "show_version")
        assert [one["output"] for one in await stored(client)] == ["one", "You said: one"]
        assert not [one for one in await thread_steps(client) if one.get("feedback")]


async def test_an_old_answer_that_is_put_back_is_shown_without_its_thought(chat: Chat) -> None:
    await chat.add_user("ann")
    async with chat.client("ann") as client:
        await client.ask("one", modes=use("echo"))
        (before,) = [step for step in await stored(client) if step["type"] == "assistant_message"]
        async with chat.layer() as layer:
            await layer.update_step({**before, "output": "<think>Hm, 1?</think>\n\nAnswer 1"})
        await edit(client, "one", "two", "echo")
        await press(client, "show_version")
        (tool,) = [step for step in client.steps.values() if step["type"] == "tool"]
        assert (tool["output"], client.steps[before["id"]]["output"]) == ("Hm, 1?", "Answer 1")


async def test_an_answer_that_is_put_back_has_its_thought(chat: Chat) -> None:
    await chat.add_user("ann")

    async def said(client: ChatClient) -> list[tuple[str, str]]:
        return [(one["type"], one["output"]) for one in await thread_steps(client) if one["type"] != "run"]

    async with chat.client("ann") as client:
        await client.ask("one", modes=use("think:reasoning_content:0.05"))
        before = await said(client)
        assert before[1:] == [("llm", "Pondering one"), ("assistant_message", "You said: one")]
        (thought,) = [one for one in await thread_steps(client) if one["type"] == "llm"]
        await edit(client, "one", "two", "think:reasoning_content:0.05")
        for _ in range(2):
            seen = len(client.events)
            await press(client, "show_version")
            assert await said(client) == before
            (again,) = [one for one in await thread_steps(client) if one["type"] == "llm"]
            assert again["metadata"]["seconds"] == pytest.approx(thought["metadata"]["seconds"], abs=0.02)
            new = [data for event, data in client.events[seen:] if event == "new_message"]
            shown = [(one["type"], one["output"]) for one in new if one["type"] != "run"]
            assert shown == [("tool", "Pondering one"), ("assistant_message", "You said: one")]
            await press(client, "show_version")
            assert (await said(client))[1:] == [("llm", "Pondering two"), ("assistant_message", "You said: two")]
        async with chat.layer() as layer:
            found = await layer.open_thread_for_review(client.thread_id or "")
        assert found is not None
        shown_removed = [one for one in shown_thread(found).messages if one.removed]
        assert [one.step["output"] for one in shown_removed] == ["You said: one"]


async def thread_steps(client: ChatClient) -> list[dict[str, Any]]:
    """All steps as stored."""
    thread = (await client.http.get(f"/project/thread/{client.thread_id}")).raise_for_status().json()
    steps: list[dict[str, Any]] = thread["steps"]
    return steps


async def test_regenerating_into_an_error_loses_nothing(chat: Chat) -> None:
    await chat.add_user("ann")
    async with chat.client("ann") as client:
        await client.ask("one", modes=use("500:1"))
        await press(client, "try_again")
        assert client.answer == "You said: one"
        assert buttons(client) == ["regenerate"], "the error is no version"
        await edit(client, "one", "two", "500")
        # An edit keeps the model of the question, so the answer comes; the texts of both are there.
        await press(client, "show_version")
        assert outputs(await stored(client)) == ["one", "You said: one"]


@pytest.mark.parametrize("model", ["slow:40:0.05", "length", "cut:3"])
async def test_an_unfinished_answer_is_continued_in_place(chat: Chat, model: str) -> None:
    await chat.add_user("ann")
    async with chat.client("ann") as client:
        if model.startswith("slow"):
            await client.send("go on", modes=use(model))
            await client.until(lambda: "word-3" in client.answer)
            seen = len(client.events)
            await client.emit("stop")
            await client.until(lambda: "continue_answer" in buttons(client))
            # Else the end of this turn would pass for the end of the next one.
            await client.until(lambda: any(name == "task_end" for name, _ in client.events[seen:]))
        else:
            await client.ask("go on", modes=use(model))
        said = [step for step in await stored(client) if step["type"] == "assistant_message" and not step["isError"]]
        (before,) = said
        part = before["output"].split("\n\n*")[0]
        await press(client, "continue_answer")
        request = [one.body for one in chat.model_server.requests if one.body.get("stream")][-1]
        assert request["messages"][-2:] == [
            {"role": "assistant", "content": part},
            {"role": "user", "content": CONTINUE_PROMPT},
        ]
        after = await stored(client)
        assert [step["id"] for step in after if step["type"] == "assistant_message" and not step["isError"]] == [
            before["id"]
        ]
        answer = next(step for step in after if step["id"] == before["id"])
        assert answer["output"].startswith(part)
        assert len(answer["output"]) > len(before["output"])
        assert CONTINUE_PROMPT not in [step["output"] for step in after], "it is not a question of the user"
        usage, used = answer["metadata"]["usage"], before["metadata"]["usage"]
        assert usage["completion_tokens"] > used["completion_tokens"]
        if model.startswith("slow"):
            assert "word-3 word-1" in answer["output"] or " word-1 " in answer["output"][len(part) :]
            assert answer["metadata"]["status"] == "complete"
            assert buttons(client) == ["regenerate"]
        else:
            assert "continue_answer" in buttons(client)


async def test_only_the_last_answer_is_continued(chat: Chat) -> None:
    await chat.add_user("ann")
    async with chat.client("ann") as client:
        await client.ask("one", modes=use("length"))
        await client.ask("two", modes=use("echo"))
        before = await stored(client)
        await press(client, "continue_answer", until="toast")
        assert ("toast", say("retry_too_late", "en")) in [
            (event, data["message"]) for event, data in client.events if event == "toast"
        ]
        assert await stored(client) == before


async def test_a_page_that_comes_back_during_an_answer_can_stop_it(chat: Chat) -> None:
    await chat.add_user("ann")
    async with chat.client("ann") as client:
        await client.send("go on", modes=use("slow:40:0.05"))
        await client.until(lambda: "word-3" in client.answer)
    async with chat.client("ann", thread_id=client.thread_id) as back:
        await back.until(lambda: shows_work(back))
        shown = len(back.answer)
        await back.until(lambda: len(back.answer) > shown)
        await back.emit("stop")
        await back.until(lambda: back.answer.endswith(f"*{say('mark_stopped', 'en')}*"))
        await back.until(lambda: "continue_answer" in buttons(back))
        (answer,) = [step for step in await stored(back) if step["type"] == "assistant_message"]
        assert answer["output"] == back.answer


async def test_a_page_that_comes_back_before_the_first_word_gets_the_whole_answer(chat: Chat) -> None:
    await chat.add_user("ann")
    async with chat.client("ann") as client:
        await client.send("wait", modes=use("hang"))
        await client.event("first_interaction")
        # Before the server learns that the first page has gone, and after.
        for _ in range(2):
            async with chat.client("ann", thread_id=client.thread_id) as back:
                await back.until(lambda back=back: shows_work(back))  # type: ignore[misc]
    async with chat.client("ann", thread_id=client.thread_id) as back:
        await back.until(lambda: shows_work(back))
        await back.emit("stop")
        await back.until(lambda: say("stopped_before", "en") in back.answer)
        await back.until(lambda: buttons(back) == ["try_again"])
        assert tooltip(back, "try_again") == say("try_again_hint", "en", model="hang")
    async with chat.client("ann", thread_id=client.thread_id) as back:
        await back.until(lambda: buttons(back) == ["try_again"])
        assert tooltip(back, "try_again") == say("try_again_hint", "en", model="hang"), "also when it is resumed"


async def test_a_turn_that_ended_shows_no_work_on_a_page_that_comes_back(chat: Chat) -> None:
    await chat.add_user("ann")
    async with chat.client("ann") as client:
        await client.ask("one", modes=use("echo"))
    async with chat.client("ann", thread_id=client.thread_id) as back:
        await back.ask("two", modes=use("echo"))
        assert back.answer == "You said: two"
        assert not shows_work(back)


async def test_settings_become_the_default_of_new_threads_only_if_wanted(chat: Chat) -> None:
    await chat.add_user("ann")
    own = {"system_prompt": "Mine.", "temperature": 0.5, "max_tokens": 0}
    async with chat.client("ann") as client:
        await save(client, {**own, "system_prompt": "This thread.", "as_default": False})
        await client.ask("one", modes=use("echo"))
        assert system_prompt(chat) == "This thread."
    async with chat.client("ann") as other:
        assert offered(other)["system_prompt"] == ""
        await save(other, {**own, "as_default": True})
        assert say("setting_as_default_saved", "en") in [
            data["message"] for event, data in other.events if event == "toast"
        ]
        await other.ask("two", modes=use("echo"))
        assert system_prompt(chat) == "Mine."
    async with chat.client("ann") as third:
        assert offered(third) == {**own, "no_system_prompt": False, "as_default": False}
        await third.ask("three", modes=use("echo"))
        assert system_prompt(chat) == "Mine."
    async with chat.client("ann", thread_id=client.thread_id) as first:
        assert offered(first)["system_prompt"] == "This thread."
        thread = (await first.http.get(f"/project/thread/{client.thread_id}")).json()
        assert "as_default" not in thread["metadata"]["chat_settings"]


async def save(client: ChatClient, settings: dict[str, Any]) -> None:
    """Save the settings dialog, and wait until the server has taken the values."""
    seen = len(client.events)
    await client.emit("chat_settings_change", settings)
    await client.until(lambda: any(event == "task_end" for event, _ in client.events[seen:]))


def shows_work(client: ChatClient) -> bool:
    """Whether the page shows Stop: a task that started after the thread was resumed, and has not ended."""
    names = [event for event, _ in client.events]
    after = names[names.index("resume_thread") :] if "resume_thread" in names else names
    return after.count("task_start") > after.count("task_end")


def offered(client: ChatClient) -> dict[str, Any]:
    """The values in the settings dialog."""
    inputs = next(data for event, data in client.events if event == "chat_settings")
    return {one["id"]: one["initial"] for one in inputs}


def system_prompt(chat: Chat) -> str:
    asked = [one.body for one in chat.model_server.requests if one.body.get("stream")]
    return str(asked[-1]["messages"][0]["content"])
