"""Data sources as their owner adds, replaces and removes them: checked before they are stored."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest

from datalayer import AlreadyExists, DataSource, Forbidden, NotFound
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.ownership import acting_as
from datalayer.records.assistants import AssistantSettings
from tests.support.office_files import excel
from tests.support.records import user_id
from tests.unit.test_attachments import pdf
from threadkeeper.knowledge.acts import cancel_training, list_trainings, start_training
from threadkeeper.knowledge.loading import LoadLimits, LoadRefused
from threadkeeper.knowledge.source_acts import NewSource, change_source, put_source, remove_source, replace_file
from threadkeeper.knowledge.wording import say_refused

SLUG = "librarian"
LIMITS = LoadLimits(megabytes=1)


@pytest.fixture
async def library(layer: ChainlitLayer) -> ChainlitLayer:
    """A layer with an assistant of alice, which bob may use."""
    for name in ("alice", "bob"):
        await user_id(layer, name)
    await layer.create_assistant(AssistantSettings("Librarian"), slug=SLUG, owner="alice")

    async def nothing(_context: object) -> None: ...

    layer.register_job("training", nothing)
    return layer


async def test_a_file_is_added_replaced_and_left_as_it_is(library: ChainlitLayer) -> None:
    with acting_as("alice"):
        new = NewSource("file", "guide/hours.txt", b"Open from nine.")
        added = await put_source(library, SLUG, new, LIMITS)
        again = await put_source(library, SLUG, new, LIMITS)
        replaced = await put_source(library, SLUG, NewSource("file", "guide/hours.txt", b"Open from ten."), LIMITS)
    assert [one.done for one in (added, again, replaced)] == ["added", "unchanged", "replaced"]
    assert added.source.id == again.source.id == replaced.source.id
    assert added.taken is not None
    assert (added.taken.loader, added.taken.characters) == ("text 1", 15)
    (source,) = await library.list_sources(SLUG)
    assert (await library.read_source(source.id))[1] == b"Open from ten."
    with acting_as("alice"):
        longer = await replace_file(library, SLUG, source.id, b"# Open from ten.", LIMITS, name="new.md")
        assert (longer.done, longer.source.title) == ("replaced", "guide/hours.md")
        same = await replace_file(library, SLUG, source.id, b"# Open from ten.", LIMITS, name="hours.MD")
        assert (same.done, same.source) == ("unchanged", longer.source)
        await remove_source(library, SLUG, source.id)
    assert await library.list_sources(SLUG) == []


async def test_of_two_people_who_change_one_source_nobody_loses_a_change(
    library: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"id,name\n1,Ada\n2,Blaise\n"
    source = (await put_source(library, SLUG, NewSource("datasheet", "people.csv", content), LIMITS)).source
    read, meanwhile = library.get_source, list[Awaitable[object]]()

    async def read_and_change(source_id: str) -> DataSource | None:
        """What one person reads, before the other one changes it."""
        found = await read(source_id)
        if meanwhile:
            await meanwhile.pop()
        return found

    monkeypatch.setattr(library, "get_source", read_and_change)
    meanwhile += [change_source(library, SLUG, source.id, options={"columns": ("name",)})]
    await change_source(library, SLUG, source.id, title="staff.csv")
    meanwhile += [change_source(library, SLUG, source.id, title="members.csv")]
    await replace_file(library, SLUG, source.id, content + b"3,Carl\n", LIMITS)
    (found,) = await library.list_sources(SLUG)
    assert (found.title, found.options) == ("members.csv", {"columns": ["name"]})
    assert (await library.read_source(source.id))[1] == content + b"3,Carl\n"
    meanwhile += [remove_source(library, SLUG, source.id)]
    with pytest.raises(NotFound):
        await change_source(library, SLUG, source.id, title="nobody.csv")
    assert await library.list_sources(SLUG) == []


async def test_the_same_file_is_stored_again_if_it_was_lost(library: ChainlitLayer) -> None:
    new = NewSource("file", "hours.txt", b"Open from nine.")
    with acting_as("alice"):
        added = await put_source(library, SLUG, new, LIMITS)
        await library.blobs.delete(str(added.source.object_key))
        again = await put_source(library, SLUG, new, LIMITS)
        last = await put_source(library, SLUG, new, LIMITS)
    assert [one.done for one in (added, again, last)] == ["added", "replaced", "unchanged"]
    assert (again.source.id, await library.read_source(added.source.id)) == (
        added.source.id,
        (last.source, b"Open from nine."),
    )


async def test_other_columns_of_a_table_replace_it(library: ChainlitLayer) -> None:
    content = b"id,name,place\n1,Ada,London\n2,Blaise,Paris\n3,Carl,Berlin\n"
    columns = NewSource("datasheet", "people.csv", content, {"columns": ("name",), "record_id": "id", "sheet": None})
    first = await put_source(library, SLUG, columns, LIMITS)
    assert (first.done, first.taken) == ("added", None)
    assert first.source.options == {"columns": ["name"], "record_id": "id"}
    assert (await put_source(library, SLUG, columns, LIMITS)).done == "unchanged"
    others = NewSource("datasheet", "people.csv", content, {"columns": ("name", "place")})
    assert (await put_source(library, SLUG, others, LIMITS)).done == "replaced"
    # A file of the same name that is another kind of source stands beside it.
    assert (await put_source(library, SLUG, NewSource("file", "people.csv", content), LIMITS)).done == "added"
    with pytest.raises(LoadRefused, match="without_column"):
        await put_source(library, SLUG, NewSource("datasheet", "a.csv", content, {"columns": ("age",)}), LIMITS)


async def test_the_chosen_columns_of_a_table_stay_when_its_file_is_added_again(library: ChainlitLayer) -> None:
    content = b"id,name,ask\n1,Ada,Who?\n2,Blaise,When?\n"
    source = (await put_source(library, SLUG, NewSource("datasheet", "people.csv", content), LIMITS)).source
    chosen = {"columns": ["name"], "record_id": "id", "suggestion": "ask"}
    await change_source(library, SLUG, source.id, options=chosen)

    async def added(content: bytes) -> tuple[str, object]:
        change = await put_source(library, SLUG, NewSource("datasheet", "people.csv", content), LIMITS)
        return change.done, change.source.options

    assert await added(content) == ("unchanged", chosen)
    other_order = b"place,ask,name,id\nRome,Who?,Ada,1\n"
    assert await added(other_order) == ("replaced", chosen)
    with pytest.raises(LoadRefused) as refused:
        await added(b"name,place\nAda,Rome\n")
    sentence = say_refused(refused.value.refusal, "people.csv", LIMITS, "en", refused.value.missing)
    assert "lacks the chosen columns “id”, “ask”" in sentence
    (kept,) = await library.list_sources(SLUG)
    assert (kept.options, (await library.read_source(kept.id))[1]) == (chosen, other_order), "nothing is changed"
    book = NewSource("datasheet", "people.csv", excel({"Two": [["name"], ["Ada"]]}), {"sheet": "One"})
    with pytest.raises(LoadRefused) as refused:
        await put_source(library, SLUG, book, LIMITS)
    assert "“One”" in say_refused(refused.value.refusal, "people.csv", LIMITS, "zh-CN", refused.value.missing)


@pytest.mark.parametrize(
    ("name", "content", "refusal"),
    [
        ("scan.pdf", pdf(None, None), "without_text"),
        ("large.txt", b"a" * (1024 * 1024 + 1), "too_large"),
        ("picture.png", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00", "unsupported"),
        ("broken.pdf", b"%PDF-1.7 and nothing else", "broken"),
        ("empty.txt", b" \n", "without_text"),
    ],
)
async def test_a_file_that_cannot_be_loaded_is_not_stored(
    library: ChainlitLayer, name: str, content: bytes, refusal: str
) -> None:
    with pytest.raises(LoadRefused, match=refusal):
        await put_source(library, SLUG, NewSource("file", name, content), LIMITS)
    assert await library.list_sources(SLUG) == []


async def test_only_who_may_edit_an_assistant_changes_what_it_knows(library: ChainlitLayer) -> None:
    new = NewSource("file", "hours.txt", b"Open from nine.")
    source = (await put_source(library, SLUG, new, LIMITS)).source
    acts = (
        lambda: put_source(library, SLUG, new, LIMITS),
        lambda: replace_file(library, SLUG, source.id, b"Shut.", LIMITS),
        lambda: change_source(library, SLUG, source.id, title="a.txt"),
        lambda: remove_source(library, SLUG, source.id),
        lambda: start_training(library, SLUG),
        lambda: list_trainings(library, SLUG),
        lambda: cancel_training(library, SLUG),
    )
    for act in acts:
        with acting_as("bob"), pytest.raises(Forbidden):
            await act()
        with acting_as(None), pytest.raises(NotFound):
            await act()
    with acting_as("alice"):
        training = await start_training(library, SLUG, "alice's id")
        assert (training.state, training.started_by) == ("new", "alice's id")
        with pytest.raises(AlreadyExists):
            await start_training(library, SLUG)
        assert (await cancel_training(library, SLUG)).id == training.id
        await remove_source(library, SLUG, source.id)


async def test_a_source_of_another_assistant_is_neither_replaced_nor_removed(library: ChainlitLayer) -> None:
    await library.create_assistant(AssistantSettings("Other"), slug="other", owner="bob")
    source = (await put_source(library, SLUG, NewSource("file", "hours.txt", b"Open."), LIMITS)).source
    with acting_as("bob"):
        with pytest.raises(NotFound):
            await remove_source(library, "other", source.id)
        with pytest.raises(NotFound):
            await replace_file(library, "other", source.id, b"Shut.", LIMITS)
        with pytest.raises(NotFound):
            await change_source(library, "other", source.id, title="a.txt")
    assert (await library.read_source(source.id))[1] == b"Open."
