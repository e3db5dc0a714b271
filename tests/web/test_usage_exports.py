"""Exports of calls as CSV and JSON Lines: complete, without formulas, in constant memory."""

import codecs
import csv
import io
import json
import tracemalloc
from decimal import Decimal

import httpx
import pytest
from sqlalchemy import insert, select

from datalayer import User
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import CallFilter
from datalayer.schema.usage import llm_calls
from tests.support.calls import MORNING, call
from tests.support.records import new_id
from tests.web.conftest import Browser
from threadkeeper.web.usage.exports import COLUMNS, record

MARCH = "period=custom&from=2026-03-01&to=2026-03-31"


async def test_an_export_has_all_stored_data(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser
) -> None:
    await layer.record_call(
        call(
            user_id=people["user"].id,
            model='a "model", with\na line',
            prompt_tokens=7,
            total_cost=Decimal("0.000000012"),
            input_cost=Decimal(0),
            price={"source": "own"},
            tags=("北京", "b"),
            is_estimated=True,
            seconds=1.5,
        )
    )
    await layer.record_call(call("2026-03-10T13:00:00.000000Z", status_code=500, error_kind="server"))
    kept = [record(row) async for row in layer.export_calls(CallFilter())]
    browser = await browser_of("admin")
    lines = await browser.get(f"/usage/export.jsonl?{MARCH}")
    assert [json.loads(line) for line in lines.text.splitlines()] == kept
    assert lines.headers["content-disposition"] == 'attachment; filename="usage-2026-03-01-2026-03-31.jsonl"'
    assert lines.headers["cache-control"] == "private, no-store"
    table = await browser.get(f"/usage/export.csv?{MARCH}")
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert table.content.startswith(codecs.BOM_UTF8), "without it, a Chinese Excel garbles the text"
    assert table.content.count(codecs.BOM_UTF8) == 1
    first, second = csv.DictReader(io.StringIO(table.content.decode("utf-8-sig"), newline=""))
    assert tuple(first) == COLUMNS
    assert first["model"] == kept[0]["model"]
    assert (first["total_cost"], first["input_cost"]) == ("0.000000012", "0")
    assert (first["user"], json.loads(first["tags"])) == (people["user"].identifier, ["北京", "b"])
    assert (second["total_cost"], second["prompt_tokens"], second["user"]) == ("", "", "")


async def test_the_filter_of_the_page_applies_to_the_export(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser
) -> None:
    for model in ("a", "b"):
        for day in ("02-28", "03-10"):
            await layer.record_call(call(f"2026-{day}T12:00:00Z", model=model, user_id=people["user"].id))
    browser = await browser_of("user")
    found = (await browser.get(f"/usage/export.jsonl?{MARCH}&model=a&order=cost&by=tag")).text.splitlines()
    assert [(json.loads(line)["model"], json.loads(line)["requested_at"][:10]) for line in found] == [
        ("a", "2026-03-10")
    ]
    nothing = await browser.get(f"/usage/export.csv?{MARCH}&model=c")
    assert nothing.content == codecs.BOM_UTF8 + ",".join(COLUMNS).encode() + b"\r\n"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_no_cell_is_a_formula(layer: ChainlitLayer, people: dict[str, User], browser_of: Browser) -> None:
    formulas = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"]
    for formula in formulas:
        await layer.record_call(call(model=formula, assistant=formula, error_message=formula, tags=(formula,)))
    text = (await (await browser_of("admin")).get(f"/usage/export.csv?{MARCH}")).text
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert sorted(row["model"] for row in rows) == sorted(f"'{formula}" for formula in formulas)
    for row in rows:
        for cell in row.values():
            assert not cell.startswith(tuple(formulas))


@pytest.mark.slow
async def test_a_long_export_takes_no_more_memory_than_a_short_one(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser
) -> None:
    browser = await browser_of("admin")
    await multiply(layer, 1_000)
    await length_and_peak(browser)
    short, small_peak = await length_and_peak(browser)
    await multiply(layer, 4_000)
    long, large_peak = await length_and_peak(browser)
    assert (short, long) == (1_000, 5_000)
    assert large_peak < 2 * small_peak, f"{small_peak} bytes for {short}, {large_peak} for {long}"


async def multiply(layer: ChainlitLayer, number: int) -> None:
    """Add this many calls."""
    one = call()
    await layer.record_call(one)
    async with layer.database.write() as connection:
        row = (await connection.execute(select(llm_calls).where(llm_calls.c.id == one.id))).mappings().one()
        copies = [{**row, "id": new_id(), "requestedAt": MORNING} for _ in range(number - 1)]
        await connection.execute(insert(llm_calls), copies)


async def length_and_peak(browser: httpx.AsyncClient) -> tuple[int, int]:
    """The number of exported calls, and the peak memory in bytes."""
    lines = 0
    tracemalloc.start()
    try:
        async with browser.stream("GET", f"/usage/export.jsonl?{MARCH}") as answer:
            async for chunk in answer.aiter_bytes():
                lines += chunk.count(b"\n")
        return lines, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
