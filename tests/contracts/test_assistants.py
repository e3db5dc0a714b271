"""Assistants: versions, checks, access, pictures, numbers, deletion and takeouts, on both engines."""

import asyncio
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

import datalayer
from datalayer import Assistant, AssistantAccess, AssistantSettings, BlobNotFound, acting_as, create_data_layer
from datalayer.assistants.checking import LARGEST_PICTURE, Problems, check_settings, slug_of
from datalayer.assistants.templates import filled, placeholders
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import CallFilter
from datalayer.schema.assistants import assistant_pictures, assistant_versions
from datalayer.takeout.export import export_user
from datalayer.takeout.import_ import import_user
from tests.support.calls import call
from tests.support.knowledge import document, source, trained
from tests.support.lost_answers import lost_answers
from tests.support.records import step, thread, user_id, vote

PNG = b"\x89PNG\r\n\x1a\n" + b"a picture"
JPEG = b"\xff\xd8\xff" + b"another one"
QA_PROMPT = "Answer from these passages:\n{context}\n\nQuestion: {question}"
QA = AssistantSettings("Handbook", type="qa", prompt=QA_PROMPT, idk="I do not know.")


async def people(layer: ChainlitLayer) -> None:
    """The admin root, the reviewer rita, and the users alice and bob."""
    for name in ("root", "rita", "alice", "bob"):
        await user_id(layer, name)
    await layer.set_role("root", "admin")
    await layer.set_role("rita", "reviewer")


async def made(layer: ChainlitLayer, name: str = "Travel", **others: Any) -> Assistant:
    with acting_as("root"):
        return await layer.create_assistant(AssistantSettings(name), **others)


def fields_of(error: datalayer.InvalidAssistant) -> dict[str, str]:
    return {problem.field: problem.kind for problem in error.problems}


async def test_each_save_is_a_version_and_an_earlier_one_stays_as_it_was(layer: ChainlitLayer) -> None:
    await people(layer)
    first = await made(layer, owner="alice", picture=PNG)
    assert (first.slug, first.version, first.owner, first.saved_by) == ("travel", 1, "alice", "root")
    assert first.reference == "travel@1"
    with acting_as("alice"):
        changed = dataclasses.replace(first.settings, prologue="Where to?", temperature=0.2)
        second = await layer.save_assistant("travel", changed, expected_version=1)
        assert (second.version, second.settings, second.saved_by) == (2, changed, "alice")
        assert second.picture == first.picture
        assert (await layer.get_assistant("travel", 1)).settings == first.settings
        assert [one.version for one in await layer.list_assistant_versions("travel")] == [2, 1]
        third = await layer.restore_assistant("travel", 1, expected_version=2)
        assert (third.version, third.restored_from, third.settings) == (3, 1, first.settings)
        assert (await layer.usable_assistant("travel")).version == 3
        with pytest.raises(datalayer.NotFound):
            await layer.restore_assistant("travel", 9)


async def test_of_two_who_save_at_once_one_is_told_that_there_is_a_newer_version(layer: ChainlitLayer) -> None:
    await people(layer)
    await made(layer, owner="alice")

    async def save(actor: str) -> Assistant:
        with acting_as(actor):
            return await layer.save_assistant("travel", AssistantSettings(f"of {actor}"), expected_version=1)

    results = await asyncio.gather(save("alice"), save("root"), return_exceptions=True)
    saved = [one for one in results if isinstance(one, Assistant)]
    refused = [one for one in results if isinstance(one, datalayer.VersionConflict)]
    assert (len(saved), len(refused)) == (1, 1)
    assert refused[0].current == 2
    assert (await layer.get_assistant("travel")).settings == saved[0].settings
    with pytest.raises(datalayer.VersionConflict):
        await layer.restore_assistant("travel", 1, expected_version=1)


async def test_a_write_that_is_repeated_after_a_lost_answer_makes_one_version(layer: ChainlitLayer) -> None:
    await people(layer)
    await made(layer)
    submit = layer._writer.submit

    async def twice(work: Callable[[Any], Any], *others: Any) -> Any:
        await submit(work, *others)
        return await submit(work, *others)

    layer._writer.submit = twice  # type: ignore[method-assign, assignment]
    saved = await layer.save_assistant("travel", AssistantSettings("Again"), expected_version=1)
    again = await layer.create_assistant(AssistantSettings("Another"))
    assert (saved.version, again.version) == (2, 1)
    assert len(await layer.list_assistant_versions("travel")) == 2


@pytest.mark.parametrize(
    ("fields", "problems"),
    [
        ({"name": " "}, {"name": "missing"}),
        ({"name": "a" * 81}, {"name": "too_long"}),
        ({"type": "robot", "mode": "easy"}, {"type": "not_one_of", "mode": "not_one_of"}),
        ({"prompt": "{contxt}"}, {"prompt": "unknown_placeholder"}),
        ({"prompt": "{question.__class__}"}, {"prompt": "unknown_placeholder"}),
        ({"prompt": "{question!r}"}, {"prompt": "unknown_placeholder"}),
        ({"prompt": "{"}, {"prompt": "open_brace"}),
        ({"type": "qa", "prompt": "{context}", "idk": "?"}, {"prompt": "lacks_placeholder"}),
        ({"type": "qa", "prompt": QA_PROMPT}, {"idk": "missing"}),
        ({"temperature": 2.1, "top_p": -0.1}, {"temperature": "out_of_range", "top_p": "out_of_range"}),
        ({"temperature": math.nan}, {"temperature": "out_of_range"}),
        (
            {"presence_penalty": 3},
            {"presence_penalty": "out_of_range"},
        ),
        ({"n": 2}, {"n": "not_one"}),
        ({"max_tokens": 0}, {"max_tokens": "not_whole"}),
        ({"logit_bias": {"hello": 1}}, {"logit_bias": "bad_bias"}),
        ({"logit_bias": {"1": 101}}, {"logit_bias": "bad_bias"}),
        ({"stop": ("a", "b", "c", "d", "e")}, {"stop": "too_many"}),
        ({"stop": "END"}, {"stop": "not_a_list"}),
        ({"idk_link": "javascript:alert(1)"}, {"idk_link": "bad_link"}),
        ({"score_threshold": 1.5}, {"score_threshold": "out_of_range"}),
        ({"tips": ("x" * 501,), "opening_prompts": ("1",) * 2}, {"tips": "too_long"}),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_the_check_names_each_field_that_is_not_valid(fields: dict[str, Any], problems: dict[str, str]) -> None:
    found = Problems()
    check_settings(AssistantSettings(**{"name": "Travel", **fields}), found)
    with pytest.raises(datalayer.InvalidAssistant) as refused:
        found.demand_none()
    assert fields_of(refused.value) == problems
    assert all(f"{field} " in str(refused.value) for field in problems)


async def test_nothing_is_stored_of_an_assistant_that_is_not_valid(layer: ChainlitLayer) -> None:
    await people(layer)
    for others, problems in (
        ({"access": AssistantAccess("users", users=("alice", "nobody"))}, {"users": "unknown_user"}),
        ({"access": AssistantAccess("role", "king")}, {"role": "not_one_of"}),
        ({"owner": "nobody"}, {"owner": "unknown_user"}),
        ({"slug": "default"}, {"slug": "reserved"}),
        ({"slug": "a@1"}, {"slug": "bad_slug"}),
        ({"picture": b"<svg/>"}, {"picture": "bad_picture"}),
        ({"picture": PNG + b"0" * LARGEST_PICTURE}, {"picture": "large_picture"}),
    ):
        with pytest.raises(datalayer.InvalidAssistant) as refused:
            await made(layer, **others)
        assert fields_of(refused.value) == problems
    assert await layer.list_assistants() == []


async def test_a_slug_is_given_once_even_after_a_deletion(layer: ChainlitLayer) -> None:
    await people(layer)
    await made(layer)
    with pytest.raises(datalayer.AlreadyExists):
        await made(layer, "TRAVEL")
    await layer.delete_assistant("travel")
    with pytest.raises(datalayer.AlreadyExists):
        await made(layer)
    with pytest.raises(datalayer.NotFound):
        await layer.usable_assistant("travel")
    with pytest.raises(datalayer.NotFound):
        await layer.get_assistant("travel")
    assert await layer.list_assistants() == []
    assert (await made(layer, "旅行 助手 2")).slug == "旅行-助手-2"


@pytest.mark.parametrize(
    ("access", "may_use"),
    [
        (AssistantAccess("everyone"), {"root", "rita", "alice", "bob"}),
        (AssistantAccess("role", "reviewer"), {"root", "rita", "alice"}),
        (AssistantAccess("role", "admin"), {"root", "alice"}),
        (AssistantAccess("users", users=("bob",)), {"root", "alice", "bob"}),
        (AssistantAccess("users"), {"root", "alice"}),
    ],
    ids=["everyone", "reviewers", "admins", "named", "owner"],
)
async def test_who_may_use_an_assistant_and_who_may_edit_it(
    layer: ChainlitLayer, access: AssistantAccess, may_use: set[str]
) -> None:
    await people(layer)
    await made(layer, owner="alice", access=access)
    for name in ("root", "rita", "alice", "bob", None):
        edits = name in ("root", "alice")
        with acting_as(name):
            assert [one.may_edit for one in await layer.list_assistants()] == ([edits] if name in may_use else [])
            if name in may_use:
                assert (await layer.usable_assistant("travel")).may_edit == edits
                assert (await layer.get_assistant("travel")).access.users == (access.users if edits else ())
            else:
                with pytest.raises(datalayer.Forbidden):
                    await layer.usable_assistant("travel")
                with pytest.raises(datalayer.NotFound):
                    await layer.get_assistant("travel")
            assert await layer.may_create_assistants() == (name == "root")
            if not edits:
                with pytest.raises(datalayer.Forbidden):
                    await layer.save_assistant("travel", AssistantSettings("Mine"))
                with pytest.raises(datalayer.Forbidden):
                    await layer.delete_assistant("travel")
                with pytest.raises((datalayer.Forbidden, datalayer.NotFound)):
                    await layer.list_assistant_versions("travel")
                with pytest.raises((datalayer.Forbidden, datalayer.NotFound)):
                    await layer.assistant_numbers("travel")
    await layer.set_disabled("alice", True)
    with acting_as("alice"), pytest.raises((datalayer.Forbidden, datalayer.NotFound)):
        await layer.save_assistant("travel", AssistantSettings("Mine"))


async def test_a_restored_version_gives_nobody_access_back(layer: ChainlitLayer) -> None:
    await people(layer)
    first = await made(layer, owner="alice", access=AssistantAccess("users", users=("bob",)))
    await layer.save_assistant("travel", first.settings, access=AssistantAccess("users"))
    await layer.restore_assistant("travel", 1)
    with acting_as("bob"), pytest.raises(datalayer.Forbidden):
        await layer.usable_assistant("travel")


async def test_an_owner_can_give_an_assistant_away(layer: ChainlitLayer) -> None:
    await people(layer)
    first = await made(layer, owner="alice")
    with acting_as("alice"):
        assert (await layer.save_assistant("travel", first.settings, owner="bob")).owner == "bob"
        with pytest.raises(datalayer.Forbidden):
            await layer.save_assistant("travel", first.settings)
    assert (await layer.save_assistant("travel", first.settings, owner="")).owner is None


async def test_a_picture_is_shown_to_those_who_may_use_its_assistant(layer: ChainlitLayer) -> None:
    await people(layer)
    first = await made(layer, owner="alice", picture=PNG, access=AssistantAccess("users"))
    assert first.picture is not None
    with acting_as("alice"):
        shown = await layer.assistant_picture("travel", first.picture)
        assert (shown.media_type, shown.content) == ("image/png", PNG)
        second = await layer.save_assistant("travel", first.settings, picture=JPEG)
        assert second.picture not in (None, first.picture)
        assert (await layer.save_assistant("travel", first.settings, picture=b"")).picture is None
        # An earlier version still has its picture.
        assert (await layer.assistant_picture("travel", first.picture)).content == PNG
    other = await made(layer, "Other")
    for actor, slug in (("bob", "travel"), ("root", other.slug)):
        with acting_as(actor), pytest.raises(datalayer.NotFound):
            await layer.assistant_picture(slug, first.picture)
    await layer.delete_assistant("travel")
    async with layer.database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(assistant_pictures))).scalar() == 0


async def test_the_version_that_answered_is_kept_and_found_by_usage_review_and_numbers(layer: ChainlitLayer) -> None:
    await people(layer)
    await made(layer, owner="alice")
    owner = await user_id(layer, "bob")
    first = await thread(layer, owner)
    steps = [step(first, f"answer {number}", type="assistant_message") for number in (1, 2)]
    unknown = step(
        first,
        "I do not know.",
        type="assistant_message",
        metadata={"assistant_slug": "travel", "assistant_version": "travel@2", "answered_from": "idk"},
    )
    by_default = step(first, "plain", type="assistant_message", metadata={"assistant_slug": "default"})
    greeting = step(first, "Where to?", type="assistant_message", metadata={"status": "prologue"})
    await layer.update_thread(first, metadata={"chat_profile": "travel"})
    for one in (greeting, *steps, unknown, by_default):
        await layer.create_step(one)
    for number, one in enumerate(steps, 1):
        await layer.record_call(
            call(user_id=owner, thread_id=first, step_id=one["id"], assistant="travel", assistant_version=number)
        )
    with acting_as("bob"):
        await layer.upsert_feedback(vote(steps[0]["id"], 0))
    found = (await layer.list_answers(datalayer.AnswerFilter(versions=("travel@2",)))).rows
    assert {(one.step_id, one.is_unknown) for one in found} == {(steps[1]["id"], False), (unknown["id"], True)}
    assert {one.version for one in found} == {"travel@2"}
    all_rows = {one.step_id: one.assistant for one in (await layer.list_answers(datalayer.AnswerFilter())).rows}
    assert all_rows == {**{one["id"]: "travel" for one in (*steps, unknown)}, by_default["id"]: None}
    assert [one.step_id for one in (await layer.list_answers(datalayer.AnswerFilter(is_unknown=True))).rows] == [
        unknown["id"]
    ]
    assert (await layer.answer_facets())["versions"] == ["travel@1", "travel@2"]
    assert (await layer.usage_totals(CallFilter(versions=("travel@1",)))).calls == 1
    groups = await layer.usage_by(CallFilter(), "version", order="name")
    assert [(one.value, one.totals.calls) for one in groups] == [("travel@1", 1), ("travel@2", 1)]
    with acting_as("alice"):
        numbers = await layer.assistant_numbers("travel")
    total = numbers.total
    assert (total.threads, total.answers, total.up, total.down, total.unknown) == (1, 3, 0, 1, 1)
    assert total.unknown_share == pytest.approx(1 / 3)
    assert [(one.version, one.answers, one.down, one.unknown) for one in numbers.versions] == [
        (2, 2, 0, 1),
        (1, 1, 1, 0),
    ]


async def test_the_private_assistants_of_a_deleted_user_go_and_others_stay_without_owner(layer: ChainlitLayer) -> None:
    await people(layer)
    alone = AssistantAccess("users", users=("alice",))
    private = await made(layer, "Private", owner="alice", access=alone, picture=PNG)
    shared = await made(layer, "Shared", owner="alice", access=AssistantAccess("users", users=("alice", "bob")))
    with acting_as("alice"):
        await layer.save_assistant("shared", shared.settings)
    other = await made(layer, "Other", owner="bob", access=AssistantAccess("users", users=("alice",)))
    files = [await layer.put_source(source(slug), b"x") for slug in ("private", "shared")]
    await trained(layer, [document(files[0].id, "", ["text"])], "private")
    started = await layer.start_training("shared", await user_id(layer, "alice"))
    receipt = await layer.delete_user("alice")
    assert receipt.assistants_left == (shared.id,)
    stays = await layer.get_training(started.id)
    assert stays is not None
    assert stays.started_by is None
    assert [receipt.rows[name] for name in ("data_sources", "trainings", "documents")] == [1, 1, 1]
    assert (await layer.list_sources("private"), await layer.list_trainings("private")) == ([], [])
    with pytest.raises(BlobNotFound):
        await layer.blobs.read(str(files[0].object_key))
    assert (await layer.read_source(files[1].id))[1] == b"x", "what the others know stays"
    assert receipt.row_ids["assistants"] == (private.id,)
    assert {name: receipt.rows[name] for name in ("assistants", "assistant_versions", "assistant_users")} == {
        "assistants": 1,
        "assistant_versions": 1,
        "assistant_users": 3,
    }
    assert receipt.rows["assistant_pictures"] == 1
    assert [one.slug for one in await layer.list_assistants()] == ["other", "shared"]
    left = await layer.get_assistant("shared")
    assert (left.owner, left.saved_by, left.access.users) == (None, None, ("bob",))
    assert (await layer.get_assistant("other")).access.users == ()
    async with layer.database.read() as connection:
        saved_by = (await connection.execute(select(assistant_versions.c.savedBy))).scalars().all()
    assert None in saved_by
    assert receipt.id not in saved_by
    # A user who comes later with the same name gets none of it.
    await user_id(layer, "alice")
    with acting_as("alice"):
        assert await layer.list_assistants() == []
    assert other.owner == "bob"


async def test_a_takeout_carries_the_assistants_of_its_user(
    layer: ChainlitLayer, other_database_url: str, tmp_path: Path
) -> None:
    await people(layer)
    first = await made(layer, owner="alice", picture=PNG, access=AssistantAccess("users", users=("bob",)))
    with acting_as("alice"):
        await layer.save_assistant("travel", dataclasses.replace(QA, name="Travel"), picture=JPEG)
    await made(layer, "Not hers", owner="bob")
    report = await export_user(layer.database, layer.blobs, "alice", tmp_path / "alice.zip")
    assert {name: report.counts[name] for name in ("assistants", "assistant_versions", "assistant_pictures")} == {
        "assistants": 1,
        "assistant_versions": 2,
        "assistant_pictures": 2,
    }
    other = create_data_layer(other_database_url, f"file://{tmp_path / 'elsewhere'}")
    try:
        with lost_answers():
            done = await import_user(other.database, other.blobs, tmp_path / "alice.zip")
        assert (done.counts["assistants"], done.left_out_assistants) == (1, 0)
        found = await other.list_assistant_versions("travel")
        expected = await layer.list_assistant_versions("travel")
        assert [(one.settings, one.picture, one.saved_at) for one in found] == [
            (one.settings, one.picture, one.saved_at) for one in expected
        ]
        assert [one.owner for one in found] == ["alice", "alice"]
        assert [one.saved_by for one in found] == ["alice", None]
        assert first.picture is not None
        assert (await other.assistant_picture("travel", first.picture)).content == PNG
        # Bob is named in the original alone.
        assert (await other.get_assistant("travel")).access == AssistantAccess("users")
        again = await import_user(other.database, other.blobs, tmp_path / "alice.zip", skip_existing=True)
        assert (again.counts["assistants"], again.left_out_assistants) == (0, 1)
    finally:
        await other.close()


async def test_the_read_of_a_chat_is_one_statement(layer: ChainlitLayer) -> None:
    await people(layer)
    await made(layer, access=AssistantAccess("users", users=("bob",)))
    statements = 0
    fetch = layer.database.fetch

    async def counted(*given: Any) -> Any:
        nonlocal statements
        statements += 1
        return await fetch(*given)

    layer.database.fetch = counted  # type: ignore[method-assign, assignment]
    layer.database.query = None  # type: ignore[method-assign, assignment]
    with acting_as("bob"):
        assert (await layer.usable_assistant("travel")).slug == "travel"
    assert statements == 1


TEXTS = st.text(max_size=60)
LISTS = st.lists(TEXTS.filter(str.strip), max_size=4).map(tuple)
SETTINGS = st.builds(
    AssistantSettings,
    name=st.text(min_size=1, max_size=60).filter(lambda text: any(letter.isalnum() for letter in text)),
    description=TEXTS,
    type=st.sampled_from(["chat", "analyst"]),
    mode=st.sampled_from(["wizard", "advanced"]),
    prologue=TEXTS,
    prompt=TEXTS.map(lambda text: text.replace("{", "{{").replace("}", "}}") + "{question}"),
    model=TEXTS,
    embedding_model=TEXTS,
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    max_tokens=st.none() | st.integers(1, 100_000),
    presence_penalty=st.none() | st.floats(-2, 2),
    frequency_penalty=st.none() | st.floats(-2, 2),
    logit_bias=st.dictionaries(st.integers(0, 200_000).map(str), st.floats(-100, 100), max_size=5),
    stop=LISTS,
    idk=TEXTS,
    score_threshold=st.none() | st.floats(0, 1),
    opening_prompts=LISTS,
    tips=LISTS,
)


@given(given_settings=SETTINGS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_settings_come_back_as_they_were_checked(layer: ChainlitLayer, given_settings: AssistantSettings) -> None:
    problems = Problems()
    cleaned = check_settings(given_settings, problems)
    problems.demand_none()
    assert check_settings(cleaned, problems) == cleaned
    try:
        await layer.get_assistant("subject")
    except datalayer.NotFound:
        await layer.create_assistant(AssistantSettings("Subject"))
    saved = await layer.save_assistant("subject", given_settings)
    assert saved.settings == cleaned
    assert (await layer.usable_assistant("subject")).settings == cleaned


@given(context=st.text(), question=st.text(), around=st.text())
def test_a_template_is_filled_in_once(context: str, question: str, around: str) -> None:
    escaped = around.replace("{", "{{").replace("}", "}}")
    template = f"{escaped}{{context}}{escaped}{{question}}"
    assert placeholders(template) == {"context", "question"}
    assert filled(template, {"context": context, "question": question}) == around + context + around + question


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("My  Travel helper!", "my-travel-helper"),
        ("Straße", "strasse"),
        ("!!!", ""),
        ("Ａ＠Ｂ", "a-b"),
        ("x" * 99, "x" * 60),
    ],
    ids=["words", "german", "empty", "wide", "long"],
)
def test_a_slug_is_made_of_a_name(name: str, slug: str) -> None:
    assert slug_of(name) == slug


async def test_what_a_deleted_assistant_knows_goes_with_it(layer: ChainlitLayer) -> None:
    await people(layer)
    await made(layer, "Travel", owner="alice")
    kept, gone = [await layer.put_source(source(slug), b"x") for slug in ("other", "travel")]
    await trained(layer, [document(gone.id, "", ["text"])], "travel")
    with acting_as("alice"):
        await layer.delete_assistant("travel")
    assert (await layer.list_sources("travel"), await layer.list_trainings("travel")) == ([], [])
    with pytest.raises(BlobNotFound):
        await layer.blobs.read(str(gone.object_key))
    assert await layer.read_source(kept.id) == (kept, b"x")
