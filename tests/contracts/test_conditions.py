"""Changes that are made only if the stored record is as their condition wants it, by two layers at once."""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

import datalayer
from datalayer import (
    AssistantAccess,
    AssistantSettings,
    Forbidden,
    Job,
    JobContext,
    Limit,
    NewDocument,
    NotFound,
    Price,
    Project,
    RecordChanged,
    acting_as,
)
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.ownership import SYSTEM
from datalayer.records.keys import ApiReply
from tests.support.knowledge import SETTINGS, document, source
from tests.support.records import listed, new_id, step, thread, user_id


async def one_of_two(one: Awaitable[Any], other: Awaitable[Any]) -> None:
    """Require that exactly one of two changes at once is made."""
    done = await asyncio.gather(one, other, return_exceptions=True)
    assert sorted(type(found).__name__ for found in done if isinstance(found, Exception)) == ["RecordChanged"], done


async def test_of_two_changes_at_once_one_finds_another_record(layer: ChainlitLayer, database_url: str) -> None:
    second = datalayer.create_data_layer(database_url)
    both = (layer, second)
    try:
        project = await layer.put_project(Project(new_id(), "One", "one"))
        await one_of_two(*(
            which.put_project(replace(project, name=name), only_if=lambda found: found.name == "One")
            for which, name in zip(both, ("Two", "Three"), strict=True)
        ))  # fmt: skip
        limit = await layer.put_limit(Limit(new_id(), "users", None, "day", "tokens", Decimal(1)))
        await one_of_two(*(
            which.put_limit(replace(limit, amount=Decimal(amount)), only_if=lambda found: found.amount == 1)
            for which, amount in zip(both, (2, 3), strict=True)
        ))  # fmt: skip
        await layer.add_account("uma", "hash")
        await one_of_two(*(
            which.change_account("uma", role=role, disabled=True, only_if=lambda found: found.role == "user")
            for which, role in zip(both, ("reviewer", "admin"), strict=True)
        ))  # fmt: skip
        thread_id = await thread(layer, await user_id(layer, "alice"), name="Before")
        await one_of_two(*(
            which.change_thread(thread_id, name=name, only_if=lambda found: found.name == "Before")
            for which, name in zip(both, ("After", "Later"), strict=True)
        ))  # fmt: skip
        acts: list[dict[str, Any]] = [{"is_pinned": True}, {"is_archived": True}]
        await one_of_two(*(
            which.change_thread(thread_id, **marks, only_if=lambda found: not (found.pinned_at or found.archived_at))
            for which, marks in zip(both, acts, strict=True)
        ))  # fmt: skip
        with pytest.raises(NotFound):
            await layer.change_thread(new_id(), is_pinned=True)
    finally:
        await second.close()


def repeat_writes(layer: ChainlitLayer) -> None:
    """Let the queue do each write twice, as after a lost answer."""
    submit = layer._writer.submit

    async def twice(work: Any, *others: Any) -> Any:
        await submit(work, *others)
        return await submit(work, *others)

    layer._writer.submit = twice  # type: ignore[method-assign, assignment]


async def test_what_is_repeated_after_a_lost_answer_is_done_once(layer: ChainlitLayer) -> None:
    repeat_writes(layer)
    followed: list[str] = []

    async def follow(job: Job) -> None:
        followed.append(job.id)

    async def never(_context: JobContext) -> None: ...

    layer.register_job("report", never, on_ending=follow)
    job = await layer.start_job("report")
    await layer.cancel_job(job.id)
    assert followed == [job.id]
    await layer.add_account("vera", "hash", by=SYSTEM)
    await layer.set_role("vera", "admin", by=SYSTEM)
    key, _ = await layer.create_api_key("Key", ["gateway"], user="vera")
    assert [one.id for one in await layer.list_api_keys("vera")] == [key.id]
    assert await layer.begin_reply(key.id, "once", "digest") is None
    assert (await layer.begin_reply(key.id, "once", "digest")) == ApiReply("digest")
    await layer.invite("vera", seconds=60, by="vera")
    audited = Counter(one.action for one in (await layer.list_audit()).entries)
    assert audited == {"add_user": 1, "change_role": 1, "create_key": 1, "invite_user": 1}
    price = await layer.add_price(Price(new_id(), "model", "2026-01-01", Decimal(1), Decimal(1)))
    await layer.deactivate_price(price.id)
    await layer.end_logins_of_user("vera", by="vera")
    await layer.put_chat_model("model", AssistantAccess())
    await layer.put_default_chat_model("model")
    await layer.reset_chat_model("model")
    await layer.create_assistant(AssistantSettings("Librarian"), slug="librarian")
    await layer.delete_assistant("librarian")
    project = await layer.put_project(Project(new_id(), "One", "one"))
    await layer.put_project(replace(project, name="Two"), only_if=lambda found: found.name == "One")
    limit = await layer.put_limit(Limit(new_id(), "users", None, "day", "tokens", Decimal(1)))
    await layer.put_limit(replace(limit, amount=Decimal(2)), only_if=lambda found: found.amount == 1)
    audited = Counter(one.action for one in (await layer.list_audit()).entries) - audited
    assert audited == {
        **{"add_price": 1, "end_price": 1, "end_logins": 1, "change_model": 2, "change_default_model": 1},
        **{"put_project": 2, "put_limit": 2},
    }
    owner = await user_id(layer, "alice")
    await layer.change_account("alice", role="reviewer", only_if=lambda found: found.role == "user")
    thread_id, first = await thread(layer, owner, name="Before"), step("")
    await layer.create_step(first | {"threadId": thread_id})
    await layer.change_thread(thread_id, name="After", only_if=lambda found: found.name == "Before")
    fork = await layer.fork_thread(thread_id, first["id"])
    imported = datalayer.Thread(new_id(), user_identifier="alice")
    assert await layer.import_thread(datalayer.ImportedThread(imported))
    assert not await layer.import_thread(datalayer.ImportedThread(imported))
    with acting_as("alice"):
        copy = await layer.copy_shared_thread(thread_id)
    reviewer = await user_id(layer, "rita")
    await layer.change_account("rita", role="reviewer", only_if=lambda found: found.role == "user")
    with acting_as("rita"):
        taken = await layer.take_over(thread_id)
    assert await listed(layer, reviewer) == [taken.thread_id]
    assert [one.action for one in (await layer.list_audit()).entries].count("take_over") == 1
    assert set(await listed(layer, owner)) == {thread_id, fork, copy, imported.id}
    _, secret = await layer.invite("alice", seconds=60)
    assert (await layer.accept_invitation(secret, "hash")).identifier == "alice"
    with pytest.raises(NotFound):
        await layer.accept_invitation(secret, "hash")
    assert (await layer.delete_project("one", only_if=lambda found: found.name == "Two")).slug == "one"
    await layer.remove_limit(limit.id, only_if=lambda found: found.amount == 2)
    await layer.delete_thread_with_receipt(thread_id, only_if=lambda found: found.name == "After")
    assert (await layer.delete_user("alice", only_if=lambda found: found.role == "reviewer")).id == owner
    for deletion in (layer.delete_project("one"), layer.remove_limit(limit.id), layer.delete_user("alice")):
        with pytest.raises(NotFound):
            await deletion


async def test_what_assistants_know_is_stored_and_billed_once_after_lost_answers(layer: ChainlitLayer) -> None:
    def billed(one: NewDocument) -> NewDocument:
        return replace(one, tokens=1, cost=Decimal(1))

    repeat_writes(layer)
    known = await layer.put_source(source(), b"first")
    known = await layer.put_source(known, b"second", replaces=known.sha256)
    known = await layer.change_source(known.id, lambda one: one, b"third", replaces=known.sha256)
    known = await layer.keep_fetched(known, {"at": "now"}, b"fourth")
    training = await layer.start_training("librarian")
    assert await layer.begin_training(training.id, SETTINGS, 1)
    await layer.keep_documents(training.id, [billed(document(known.id, "small", ["one"]))])
    many = [billed(document(known.id, f"part {at}", ["text"] * 60)) for at in range(2)]
    await layer.keep_documents(training.id, many)
    large = document(known.id, "large", ["text"] * 4)
    begun, _ = await layer.begin_document(training.id, replace(large, passages=()))
    for at in (0, 2):
        await layer.keep_passages(training.id, begun, at, large.passages[at : at + 2], tokens=1, cost=Decimal(1))
    assert await layer.begin_document(training.id, replace(large, passages=())) == (begun, 4)
    await layer.finish_document(training.id, begun, 4)
    await layer.bill_training(training.id, 1, Decimal(1))
    counted = (await layer.get_training(training.id)).counts  # type: ignore[union-attr]
    assert (counted.tokens, counted.cost, counted.documents) == (6, 6, 4)
    assert [one.position for one in await layer.list_passages(begun)] == [0, 1, 2, 3]
    assert await layer.finish_training(training.id, 0.3, b"counts")
    assert (await layer.get_training(training.id)).counts.passages == 125  # type: ignore[union-attr]
    for end in (layer.cancel_training, lambda one: layer.fail_training(one, "It failed.")):
        assert await end((await layer.start_training("librarian")).id)
        assert not await end(training.id)
    await layer.delete_source(known.id)
    with pytest.raises(NotFound):
        await layer.delete_source(known.id)


async def test_nothing_is_deleted_that_is_not_as_the_condition_wants_it(layer: ChainlitLayer) -> None:
    await layer.put_project(Project(new_id(), "One", "one"))
    limit = await layer.put_limit(Limit(new_id(), "users", None, "day", "tokens", Decimal(1)))
    await layer.add_account("uma", "hash")
    thread_id = await thread(layer, await user_id(layer, "alice"), name="Before")

    def deletions(fits: bool) -> list[Awaitable[Any]]:
        return [
            layer.delete_project("one", only_if=lambda found: (found.name == "One") is fits),
            layer.remove_limit(limit.id, only_if=lambda found: (found.amount == 1) is fits),
            layer.delete_user("uma", only_if=lambda found: (found.role == "user") is fits),
            layer.delete_thread_with_receipt(thread_id, only_if=lambda found: (found.name == "Before") is fits),
        ]

    for deletion in deletions(False):
        with pytest.raises(RecordChanged):
            await deletion
    with acting_as("uma"), pytest.raises(Forbidden):
        await layer.change_thread(thread_id, name="Mine", only_if=lambda _: True)
    for deletion in deletions(True):
        await deletion
    assert (await layer.list_projects(), await layer.list_limits(), await layer.get_account("uma")) == ([], [], None)
    assert await layer.get_thread(thread_id) is None
