"""The soak reports what is lost, what grows and which errors belong to no fault."""

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import datalayer
from benchmarks import soak_people
from benchmarks.soak import missing
from benchmarks.soak_faults import Fault, Happened
from benchmarks.soak_people import Asked, Person
from benchmarks.soak_report import Sample, Soak, draw, error_lines, section
from datalayer.cleaning import utc_now
from datalayer.ownership import SYSTEM, acting_as
from tests.support.records import new_id


async def _nothing() -> None:
    pass


def soak(minutes: float = 60, growth: float = 0.0, handles: int = 0) -> Soak:
    """A run in which memory and handles of both replicas grow by this much."""
    begun = time.time()
    fault = Fault("files away", 5, _nothing, _nothing, re.compile("blob"))
    found = Soak(minutes, 2, begun, "replica1", most_connections=20)
    ticks = [minutes * 60 * part / 100 for part in range(101)]
    for name in ("replica1", "replica2"):
        found.samples[name] = [
            Sample(at, 200 + growth * at / ticks[-1], 30 + round(handles * at / ticks[-1]), 0.0, 1.0) for at in ticks
        ]
    found.connections = [(at, 10) for at in ticks]
    found.asked = [Asked("ann-0-end", begun + 1, ended=begun + 2, end="answered")]
    found.happened = [Happened(fault, begun + 10, begun + 15)]
    return found


def line(message: str) -> dict[str, str]:
    return {"time": utc_now(), "level": "ERROR", "logger": "threadkeeper", "message": message}


def test_a_run_without_a_problem_passes(tmp_path: Path) -> None:
    found = soak()
    assert found.problems() == []
    assert "Passed." in section(found, tmp_path / "soak.svg")
    draw(found, tmp_path / "soak.svg")
    assert (tmp_path / "soak.svg").stat().st_size > 1_000


def test_what_grows_is_a_problem() -> None:
    assert soak(growth=60).problems() == ["memory grows: from 221 to 255 MB"]
    assert soak(minutes=3, growth=60).problems() == []
    assert soak(handles=60).problems() == ["file handles grow: from 50 to 85"]
    found = soak()
    found.connections.append((0.0, 21))
    found.samples["replica2"].append(Sample(3_600, 200, 30, 7.0))
    assert found.problems() == [
        "replica2 has 7.0 queued writes at the end",
        "21 connections to the database; 20 are allowed",
    ]


def test_only_a_look_after_the_last_write_shows_that_all_is_stored() -> None:
    found = soak()
    assert not found.is_settled(3_600)
    for samples in found.samples.values():
        assert not found.is_settled(3_600)
        samples.append(Sample(3_602, 200, 30, 0.0))
    assert found.is_settled(3_600)
    found.samples["replica2"].append(Sample(3_604, 200, 30, 7.0))
    assert not found.is_settled(3_600)


def test_errors_and_lost_questions_belong_to_a_fault_or_are_problems() -> None:
    found = soak()
    # Now is before the fault.
    found.lines = [line("a blob cannot be read")]
    assert len(found.problems()) == 1
    found.happened = [replace(found.happened[0], begun=found.begun - 1)]
    assert found.problems() == []
    found.lines.append(line("a turn failed"))
    found.asked.append(Asked("bob-0-end", found.begun + 100, ended=found.begun + 101))
    assert [one.partition(":")[0] for one in found.problems()] == ["an error of no fault", "no answer, and no fault"]


def test_only_errors_are_read_of_a_log() -> None:
    log = '{"level": "ERROR", "message": "one"}\nno JSON\n{"level": "WARNING", "message": "two"}\n[1]\n'
    assert error_lines(log) == [{"level": "ERROR", "message": "one"}]


async def test_what_was_acknowledged_is_looked_for(tmp_path: Path) -> None:
    layer = datalayer.create_data_layer(f"sqlite:///{tmp_path / 'soak.db'}", f"file://{tmp_path / 'files'}")
    try:
        await layer.migrate()
        asked = Asked("ann-0-end", 0, thread_id=new_id(), end="answered", answer="You said: it")
        refused = Asked("ann-1-end", 0, thread_id=new_id(), end="refused")
        with acting_as(SYSTEM):
            for kind, output in (("user_message", asked.text), ("assistant_message", "You said: it")):
                await layer.create_step(
                    {
                        "id": asked.step_id if kind == "user_message" else new_id(),
                        "threadId": asked.thread_id,
                        "type": kind,
                        "name": "ann",
                        "output": output,
                    }
                )
            await layer.settled(str(asked.thread_id))
            assert await missing(layer, [asked, refused]) == []
            other = replace(asked, step_id=new_id(), answer="You said: else", content=b"text")
            assert [one.partition(" ann")[0] for one in await missing(layer, [other])] == [
                "the question",
                "the answer to",
                "the file of",
            ]
    finally:
        await layer.close()


async def test_a_person_whose_connection_ends_at_any_moment_connects_again(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[Exception] = [aiohttp.WSMessageTypeError("CLOSE"), aiohttp.ClientError(), TimeoutError()]

    class Broken(Person):
        def _connected(self) -> Any:
            raise failures.pop()

    monkeypatch.setattr(soak_people, "_AGAIN_SECONDS", 0)
    async with aiohttp.ClientSession() as http:
        await Broken(http, "http://nobody", "ann", pause=0, is_over=lambda: not failures).live()
    assert failures == []
