"""Every method of the layer, called by the owner, by another user and by a visitor."""

import inspect
import itertools
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import chainlit as cl
import pytest

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.knowledge.kept_sources import KeptSources
from datalayer.knowledge.knowledge import Knowledge
from datalayer.knowledge.passage_search import PassageSearch
from datalayer.knowledge.suggestions import Suggestions
from datalayer.records.usage import CallFilter
from tests.contracts.test_elements import text_element
from tests.contracts.test_review import NOBODYS as OF_REVIEWERS
from tests.support.calls import call
from tests.support.records import listed, opened, step, thread, user_id, vote


class Belongings:
    """Records of alice."""

    def __init__(
        self,
        layer: ChainlitLayer,
        user: str,
        thread: str,
        step: dict[str, Any],
        element: Any,
        vote: str,
        call: str,
        job: str,
    ):
        self.layer, self.user, self.thread, self.step, self.element, self.vote, self.call, self.job = (
            layer,
            user,
            thread,
            step,
            element,
            vote,
            call,
            job,
        )


@pytest.fixture
async def alices(layer: ChainlitLayer) -> Belongings:
    owner = await user_id(layer, "alice")
    await user_id(layer, "bob")
    with datalayer.acting_as("alice"):
        thread_id = await thread(layer, owner, name="private")
        written = step(thread_id, "secret", metadata={"favorite": True})
        await layer.create_step(written)
        element = text_element(thread_id, written["id"], "secret")
        await layer.create_element(element)
        kept = await layer.upsert_feedback(vote(written["id"], 1))
        made = call(user_id=owner, thread_id=thread_id, step_id=written["id"], prompt_tokens=1)
        await layer.record_call(made)
        layer.register_job("report", _nothing)
        job = await layer.start_job("report")
    return Belongings(layer, owner, thread_id, written, element, kept, made.id, job.id)


async def _nothing(_context: datalayer.JobContext) -> None:
    """The function of a kind of job that never runs here."""


async def attached(alices: Belongings) -> None:
    """An element is attached to a step; for alice one that can be."""
    element = alices.element
    if datalayer.acting_user.get() == "alice":
        element = text_element(alices.thread, "", "for later")
        element.for_id = None
        await alices.layer.create_element(element)
    await alices.layer.attach_elements(alices.thread, [element.id], alices.step["id"])


async def organized(alices: Belongings) -> None:
    if not await alices.layer.organize_threads([alices.thread], is_pinned=True, add_tags=["a folder"]):
        raise datalayer.NotFound("none of them is the acting user's")


WRITES: dict[str, Callable[[Belongings], Awaitable[Any]]] = {
    "update_thread": lambda a: a.layer.update_thread(a.thread, name="mine now"),
    "change_thread": lambda a: a.layer.change_thread(a.thread, name="mine now", only_if=lambda _: True),
    "replace_thread_name": lambda a: a.layer.replace_thread_name(a.thread, "private", "mine now"),
    "delete_thread": lambda a: a.layer.delete_thread(a.thread),
    "create_step": lambda a: a.layer.create_step(step(a.thread)),
    "update_step": lambda a: a.layer.update_step({**a.step, "output": "changed"}),
    "delete_step": lambda a: a.layer.delete_step(a.step["id"]),
    "cut_thread": lambda a: a.layer.cut_thread(a.thread, a.step["id"]),
    "set_step_favorite": lambda a: a.layer.set_step_favorite(a.step, False),
    "upsert_feedback": lambda a: a.layer.upsert_feedback(vote(a.step["id"], 0)),
    "delete_feedback": lambda a: a.layer.delete_feedback(a.vote),
    "create_element": lambda a: a.layer.create_element(text_element(a.thread, a.step["id"], "planted")),
    "attach_elements": attached,
    "detach_elements": lambda a: a.layer.detach_elements(a.thread, a.step["id"]),
    "import_thread": lambda a: a.layer.import_thread(
        datalayer.ImportedThread(datalayer.Thread(str(uuid.uuid4()), user_identifier="alice"))
    ),
    "delete_thread_with_receipt": lambda a: a.layer.delete_thread_with_receipt(a.thread),
    "delete_threads": lambda a: a.layer.delete_threads([a.thread]),
    "fork_thread": lambda a: a.layer.fork_thread(a.thread, a.step["id"]),
    "make_temporary": lambda a: a.layer.make_temporary(a.thread, 60),
    "organize_threads": organized,
    "delete_user": lambda a: a.layer.delete_user("alice"),
    "delete_element": lambda a: a.layer.delete_element(a.element.id, a.thread),
    "cancel_job": lambda a: a.layer.cancel_job(a.job),
    "retry_job": lambda a: a.layer.retry_job(a.job),
}


async def signed(alices: Belongings) -> str | None:
    """A signed URL, from a stub of a store that signs them."""

    async def sign(key: str, seconds: int) -> str:
        return f"https://store.example/{key}?seconds={seconds}"

    alices.layer.blobs.signed_url = sign  # type: ignore[method-assign]
    return await alices.layer.element_link(alices.thread, alices.element.id, 60)


async def calls_listed(alices: Belongings) -> Any:
    return (await alices.layer.list_calls(CallFilter())).rows


async def jobs_listed(alices: Belongings) -> Any:
    return (await alices.layer.list_jobs()).jobs


async def calls_exported(alices: Belongings) -> Any:
    return [row async for row in alices.layer.export_calls(CallFilter())]


async def calls_counted(alices: Belongings) -> int:
    return (await alices.layer.usage_totals(CallFilter(user_ids=(alices.user,)))).calls


async def calls_in_series(alices: Belongings) -> int:
    found = await alices.layer.usage_series(CallFilter("2026-03-10", "2026-03-11"), "hour", "UTC", "user")
    return sum(bucket.totals.calls for bucket in found)


async def calls_grouped(alices: Belongings) -> Any:
    return (await alices.layer.page_of_usage(CallFilter(user_ids=(alices.user,)), "user")).groups


async def own_threads(alices: Belongings) -> Any:
    return (await alices.layer.own_threads(alices.user)).threads


async def favorites(alices: Belongings) -> Any:
    return (await alices.layer.page_of_favorites(alices.user))[0]


async def messages(alices: Belongings) -> Any:
    return (await alices.layer.page_of_messages(alices.thread))[0]


async def messages_in_order(alices: Belongings) -> Any:
    found = await alices.layer.messages_in_order(alices.thread)
    return found[0] if found is not None else []


async def folders(alices: Belongings) -> Any:
    with datalayer.acting_as("alice"):
        await alices.layer.organize_threads([alices.thread], add_tags=["a folder"])
    return await alices.layer.folders(alices.user)


READS: dict[str, Callable[[Belongings], Awaitable[Any]]] = {
    "get_thread": lambda a: a.layer.get_thread(a.thread),
    "get_thread_head": lambda a: a.layer.get_thread_head(a.thread),
    "get_threads": lambda a: a.layer.get_threads([a.thread]),
    "export_threads": lambda a: a.layer.export_threads([a.thread]),
    "threads_to_export": lambda a: a.layer.threads_to_export(a.user),
    "get_thread_author": lambda a: a.layer.get_thread_author(a.thread),
    "get_element": lambda a: a.layer.get_element(a.thread, a.element.id),
    "open_element": lambda a: opened(a.layer, a.thread, a.element.id),
    "element_link": signed,
    "list_threads": lambda a: listed(a.layer, a.user),
    "own_threads": own_threads,
    "folders": folders,
    "get_favorite_steps": lambda a: a.layer.get_favorite_steps(a.user),
    "page_of_favorites": favorites,
    "page_of_messages": messages,
    "messages_in_order": messages_in_order,
    "has_message": lambda a: a.layer.has_message(a.thread, a.step["id"]),
    "get_call": lambda a: a.layer.get_call(a.call),
    "calls_of_step": lambda a: a.layer.calls_of_step(a.thread, a.step["id"]),
    "list_calls": calls_listed,
    "export_calls": calls_exported,
    "usage_totals": calls_counted,
    "usage_series": calls_in_series,
    "get_job": lambda a: a.layer.get_job(a.job),
    "list_jobs": jobs_listed,
    "called_models": lambda a: a.layer.called_models(CallFilter()),
    "page_of_usage": calls_grouped,
    "usage_by": lambda a: a.layer.usage_by(CallFilter(user_ids=(a.user,)), "user"),
}

WITHOUT_OWNER = {
    *("create_user", "get_user", "get_account", "add_account", "set_password", "set_disabled", "set_role", "admins"),
    "change_account",
    *("list_users", "is_new", "names_alike", "names_of_users"),
    # For the system alone: see `test_installation`.
    *("first_steps", "note_first_steps", "note_backup", "note_admin_act", "database_facts", "replicas"),
    # The same, and users for themselves: see `test_chat_models`.
    *("list_chat_models", "put_chat_model", "reset_chat_model", "put_default_chat_model", "usable_chat_models"),
    # The same: see `test_people`.
    *("page_of_users", "listed_user", "invite", "find_invitation", "accept_invitation", "end_logins_of_user"),
    *(
        "count_accounts",
        "migrate",
        "pending_migrations",
        "pending_removals",
        "ping",
        "blobs",
        "queued_writes",
        "waiting_threads",
        "clock_ahead",
        "read_replica",
        "close",
        "settled",
    ),
    *("texts_to_index", "build_debug_url"),
    # These show votes and threads of the acting user, and threads that they may read: see `test_review`.
    *(
        "give_reasons",
        "reasons_of_votes",
        "who_looked",
        "who_looked_by_export",
        "reviewed_answers",
        "thread_marks_of",
        "shared_threads",
        "names_of_threads",
    ),
    # The same, for Chainlit's page: see `test_own_threads`.
    *("heading_of_thread", "copy_shared_thread", "vote_on_answer", "restore_vote", "excerpts", "message_versions"),
    # The acting user's own and the shared ones: see `test_prompts`.
    *("list_prompts", "put_prompt", "delete_prompt"),
    # For the owner, admins, and those whom an assistant is for: see `test_assistants`.
    *("list_assistants", "usable_assistant", "get_assistant", "list_assistant_versions", "may_create_assistants"),
    *("create_assistant", "save_assistant", "restore_assistant", "delete_assistant"),
    *("assistant_picture", "assistant_numbers"),
    # The number of the acting user's texts: see `test_search`.
    "own_texts_to_index",
    # The system records logins; users list and end their own: see `test_logins`.
    *("get_account_and_login", "see_login", "log_out", "list_logins", "end_login", "end_logins"),
    # The application records calls; only the operator maintains them.
    *("record_call", "forget_payloads", "verify_usage"),
    # Everyone may read prices, projects, limits and names of models; only the operator changes them.
    *("last_answered_by", "last_answered_by_each", "has_sent_finish_reasons"),
    *("list_prices", "add_price", "add_prices", "deactivate_price", "reprice", "list_projects", "put_project"),
    # Its owner and admins delete a project: see `test_billing`.
    *("project_id", "delete_project"),
    # Users make, see, rename and revoke their own keys; the system finds them: see `test_keys`.
    "rename_api_key",
    *("create_api_key", "list_api_keys", "get_api_key", "revoke_api_key", "find_api_key", "see_api_key", "take_rate"),
    *("begin_reply", "end_reply", "drop_reply"),
    # The application claims threads for turns, and owners stop them: see `test_turns`.
    *("claim_turn", "keep_turns", "release_turn", "deleted_among", "thread_changes", "stop_turn"),
    # Whether an id is in use: everyone.
    *("existing_threads", "existing_messages"),
    # The application keeps an uploaded export for a user.
    "keep_import",
    # The application registers and runs jobs, and only the system forgets them. A job belongs to whoever starts it.
    *("register_job", "run_jobs", "stop_jobs", "start_job", "forget_jobs"),
    # For the system alone: see `test_billing`.
    "page_of_limits",
    *("default_project", "list_limits", "put_limit", "remove_limit", "limit_standings", "reserve", "extend", "release"),
    *("begin_call", "extend_calls", "end_interrupted_calls"),
}


OF_KNOWLEDGE = {
    name
    for part in (Knowledge, KeptSources, PassageSearch, Suggestions)
    for name in vars(part)
    if not name.startswith("_")
}
"""Only the system: the application decides who may use an assistant."""


def test_every_public_method_is_tested() -> None:
    public = {name for name in dir(ChainlitLayer) if not name.startswith("_")}
    assert public == WRITES.keys() | READS.keys() | WITHOUT_OWNER | OF_REVIEWERS.keys() | OF_KNOWLEDGE


async def test_knowledge_is_for_the_system(layer: ChainlitLayer, subtests: pytest.Subtests) -> None:
    ids = str(uuid.uuid4())
    training = datalayer.Training(ids, "librarian", 1, "success", is_current=True, created_at="2026-01-01")
    given = {
        "source": datalayer.DataSource(ids, "librarian", "file", "Title"),
        "settings": datalayer.TrainingSettings("model", 4, 256, 30, 1),
        "result": datalayer.SourceResult(ids, "Title", None, None, None, None, 0),
        "document": datalayer.NewDocument(ids, "", "", "Title", 0, 0, 0, None, ()),
        "training": training,
        "ids": [1],
        "scores": [(1, 1.0)],
        "words": ["word"],
        "options": {},
        "limit": 1,
        "vector": b"",
    }
    for method, actor in itertools.product(sorted(OF_KNOWLEDGE), ("bob", None)):
        called = getattr(layer, method)
        required = [one.name for one in inspect.signature(called).parameters.values() if one.default is one.empty]
        with (
            subtests.test(method=method, actor=actor),
            datalayer.acting_as(actor),
            pytest.raises(datalayer.Forbidden),
        ):
            call = called(**{name: given.get(name, ids) for name in required})
            await (anext(call) if inspect.isasyncgen(call) else call)


@pytest.mark.parametrize("method", WRITES)
async def test_the_owner_alone_can_write(alices: Belongings, method: str, subtests: pytest.Subtests) -> None:
    with datalayer.acting_as("alice"):
        before = await alices.layer.get_thread(alices.thread)
    for actor in ("bob", None):
        with subtests.test(actor=actor):
            with datalayer.acting_as(actor), pytest.raises((datalayer.Forbidden, datalayer.NotFound)):
                await WRITES[method](alices)
            with datalayer.acting_as("alice"):
                assert await alices.layer.get_thread(alices.thread) == before
    with datalayer.acting_as("alice"):
        await WRITES[method](alices)


async def test_the_owner_alone_can_read(alices: Belongings, subtests: pytest.Subtests) -> None:
    for method, read in READS.items():
        for actor in ("bob", None):
            with subtests.test(method=method, actor=actor), datalayer.acting_as(actor):
                assert not await read(alices)
        with subtests.test(method=method, actor="alice"), datalayer.acting_as("alice"):
            assert await read(alices)


async def test_nobody_can_change_the_owner_of_a_thread(alices: Belongings) -> None:
    bob = await user_id(alices.layer, "bob")
    with datalayer.acting_as("bob"), pytest.raises(datalayer.Forbidden):
        await alices.layer.update_thread(alices.thread, user_id=bob)
    with datalayer.acting_as("bob"), pytest.raises(datalayer.Forbidden):
        await thread(alices.layer, alices.user)  # nobody can give a thread to another user either


async def test_a_step_of_another_user_cannot_be_moved(alices: Belongings) -> None:
    bob = await user_id(alices.layer, "bob")
    with datalayer.acting_as("bob"):
        own = await thread(alices.layer, bob)
        with pytest.raises(datalayer.Forbidden):
            await alices.layer.update_step({**alices.step, "threadId": own, "output": "changed"})
        with pytest.raises(datalayer.Forbidden):
            stolen = text_element(own, alices.step["id"], "planted")
            stolen.id = alices.element.id
            await alices.layer.create_element(stolen)
    with datalayer.acting_as("alice"):
        found = await alices.layer.get_thread(alices.thread)
    assert found["steps"][0]["output"] == "secret"
    assert (await alices.layer.blobs.read(found["elements"][0]["objectKey"])) == b"secret"


async def test_a_shared_thread_is_read_by_every_user_and_written_by_its_owner(alices: Belongings) -> None:
    with datalayer.acting_as("alice"):
        await alices.layer.update_thread(alices.thread, metadata={"is_shared": True})
    with datalayer.acting_as("bob"):
        assert await alices.layer.get_thread(alices.thread)
        with pytest.raises(datalayer.Forbidden):
            await alices.layer.create_step(step(alices.thread))
    with datalayer.acting_as(None):
        assert await alices.layer.get_thread(alices.thread) is None
    with datalayer.acting_as("alice"):
        await alices.layer.update_thread(alices.thread, metadata={"is_shared": False})
    with datalayer.acting_as("bob"):
        assert await alices.layer.get_thread(alices.thread) is None


async def test_an_element_with_the_key_of_another_users_file_neither_reads_nor_deletes_it(alices: Belongings) -> None:
    with datalayer.acting_as("alice"):
        key = (await alices.layer.get_thread(alices.thread))["elements"][0]["objectKey"]
    bob = await user_id(alices.layer, "bob")
    with datalayer.acting_as("bob"):
        own = await thread(alices.layer, bob)
        # Chainlit builds such an element from the request of a page to /project/element.
        forged = cl.CustomElement(name="Card", props={}, thread_id=own, for_id=own, object_key=key)
        await alices.layer.create_element(forged)
        assert await opened(alices.layer, own, forged.id) is None
        await alices.layer.delete_element(forged.id, own)
    assert await alices.layer.blobs.read(key) == b"secret"
