"""The format of the spool file does not change, because files of older versions must stay readable."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from datalayer import Element, Feedback, InvalidRecord, LlmCall, LlmCallPayload, Step, Thread, User
from datalayer.records.usage import LlmCallWrite
from datalayer.records.writes import (
    ElementDeletion,
    ElementWrite,
    FavoriteMark,
    FileAbandonment,
    FileAnnouncement,
    Recorded,
    StepDeletion,
    StepWrite,
    ThreadCut,
    ThreadDeletion,
    ThreadRename,
    ThreadWrite,
    UserWrite,
    VoteRemoval,
    VoteWrite,
)
from datalayer.writes.spool import KINDS, from_line, to_line

OLD_FILE = Path(__file__).with_name("spool-0.1.0.jsonl")
AT = "2026-03-01T10:00:00.123456Z"
ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
OTHER = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
WRITES: list[Recorded] = [
    StepWrite(
        Step(
            ID,
            OTHER,
            type="assistant_message",
            output="Grüße, 你好 🦆\nzwei",
            metadata={"empty": None, "list": [1, 2.5, None], "in": {"a": True}},
            tags=[],
            disable_feedback=False,
            indent=0,
            extra={"mine": None},
        ),
        AT,
        created=True,
        opens=False,
        actor="alice",
        system=False,
    ),
    ThreadWrite(Thread(ID, name="", tags=["a", "b"], metadata={"removed": None}), AT, None, False),
    ThreadRename(ID, None, "new", None, True),
    ThreadDeletion(ID, "alice", False),
    ThreadCut(ID, OTHER, ("kept",), AT, "alice", False, late=True),
    StepDeletion(ID, "alice", False),
    FavoriteMark(ID, None, True, "alice", False),
    VoteWrite(Feedback(ID, OTHER, 0, comment=""), AT, "alice", False),
    VoteRemoval(ID, AT, "alice", False),
    ElementWrite(Element(ID, OTHER, name="duck.png", byte_size=0, props={"a": None}), AT, "alice", False),
    ElementDeletion(ID, None, "alice", False),
    FileAnnouncement("a/key", ID, OTHER, AT, "alice", False),
    FileAbandonment("a/key"),
    UserWrite(User(ID, "alice", {"a": None}, AT)),
    LlmCallWrite(
        LlmCall(
            ID, "answer", "gpt", AT, input_cost=Decimal("0.000000000123"), seconds=1.5, price={"in": "1"}, tags=("t",)
        ),
        LlmCallPayload(ID, [{"role": "user", "content": None}], None),
    ),
    LlmCallWrite(LlmCall(ID, "title", "gpt", AT)),
]


def test_a_file_of_version_0_1_0_is_read() -> None:
    lines = OLD_FILE.read_text("utf-8").splitlines()
    assert [from_line(line) for line in lines] == WRITES
    assert {type(write) for write in WRITES} == set(KINDS.values())


def test_lines_are_written_as_version_0_1_0_wrote_them() -> None:
    assert [to_line(write) for write in WRITES] == OLD_FILE.read_text("utf-8").splitlines()


def test_a_replayed_cut_counts_as_late() -> None:
    cut = next(write for write in WRITES if isinstance(write, ThreadCut))
    assert from_line(to_line(replace(cut, late=False))) == cut


@pytest.mark.parametrize("line", ["{", "[]", "1", '{"kind": "name"}', '{"kind": "new in 0.2"}'])
def test_an_invalid_line_is_refused(line: str) -> None:
    with pytest.raises(InvalidRecord, match="spool file"):
        from_line(line)


def test_a_line_with_a_field_of_a_newer_version_is_refused_and_not_stored_without_it() -> None:
    line = to_line(ThreadRename(ID, None, "new", None, True))
    with pytest.raises(InvalidRecord, match="spool file"):
        from_line(line.replace('"system"', '"new_field": 1, "system"'))
