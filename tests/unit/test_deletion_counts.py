"""The sentences about a deletion at the shell, and a receipt that cannot be written."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from datalayer import Receipt, RetentionReceipt
from threadkeeper.commands.deletion import deleted, end_if_files_are_left, write_receipt


def receipt(rows: dict[str, int], **values: Any) -> Receipt:
    return Receipt("user", None, "ada", None, "2026-11-29T10:00:00.000000Z", rows, **values)


def test_the_counts_are_one_sentence() -> None:
    rows = {"threads": 25, "steps": 1_300, "feedbacks": 16, "review_pending": 0}
    assert [*deleted(receipt(rows, messages=1_300))] == ["25 threads, 1,300 messages, 16 votes, 0 files deleted."]
    rows = {"threads": 1, "steps": 4, "feedbacks": 1, "elements": 1, "feedback_changes": 2}
    assert [*deleted(receipt(rows, messages=1, files=("key",)))] == [
        "1 thread, 1 message, 1 vote, 1 file deleted.",
        "Other rows deleted: elements 1, feedback_changes 2, steps 3.",
    ]
    of_audit = RetentionReceipt("audit", "2026-01-01", "2026-11-29", None, {"audit_entries": 3})
    assert [*deleted(of_audit)][1:] == ["Other rows deleted: audit_entries 3."]


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (["a/b"], "1 file could not be deleted from the store, and will be deleted later: 'a/b'.\n"),
        (
            ["a"] * 21,
            "21 files could not be deleted from the store, and will be deleted later: " + "'a', " * 20 + "….\n",
        ),
    ],
)
def test_files_that_are_left_are_named(keys: Sequence[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    end_if_files_are_left([])
    with pytest.raises(typer.Exit):
        end_if_files_are_left(keys)
    assert capsys.readouterr().err == sentence


def test_a_receipt_that_cannot_be_written_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    full = Path("/dev/full")
    with pytest.raises(typer.Exit):
        write_receipt(full.open("w", encoding="utf-8"), full, {"what": "user"})
    told = capsys.readouterr()
    assert json.loads(told.out) == {"what": "user"}
    assert told.err == "Cannot write the receipt to /dev/full: No space left on device. It was printed instead.\n"
