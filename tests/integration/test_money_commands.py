"""`threadkeeper prices`, `reprice`, `projects`, `limits` and `verify`, as an operator runs them."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from datalayer.records.usage import CallFilter, LlmCall
from datalayer.schema.usage import llm_calls
from tests.support.calls import call
from tests.support.command_line import CommandLine
from tests.support.records import new_id

pytestmark = pytest.mark.slow

HEADER = "model,provider,input,cached,output,image,valid_from"


@pytest.fixture
def run(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


@pytest.fixture
def database(database_url: str) -> dict[str, str]:
    return {"DATABASE_URL": database_url}


async def calls(layer: ChainlitLayer) -> list[LlmCall]:
    return [row.call for row in (await layer.list_calls(CallFilter(), descending=False)).rows]


def test_a_price_is_set_listed_and_ended(run: CommandLine, database: dict[str, str]) -> None:
    done = run("prices", "set", "our-.*", "--input", "2.5", "--output", "10", "--provider", "Azure",
               "--from", "2026-03-01", **database)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    price = done.stdout.split("Price ")[1].split(".")[0]
    listed = run("prices", "list", **database).stdout.splitlines()
    assert listed[1].split("\t") == [
        price, "our-.*", "azure", "2026-03-01T00:00:00.000000Z", "2.5", "", "10", "", "",
    ]  # fmt: skip
    assert run("prices", "end", price, **database).returncode == 0
    assert run("prices", "list", **database).stdout.splitlines()[1].endswith("\tended")
    for wrong in (("(", "1"), ("x", "cheap"), ("x", "-1"), ("(a+)+", "1")):
        done = run("prices", "set", wrong[0], "--input", wrong[1], "--output", "1", **database)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


def test_the_published_prices_of_the_configured_models_are_listed(run: CommandLine, database: dict[str, str]) -> None:
    models = {"OPENAI_API_KEY": "a-key", "OPENAI_MODELS": "gpt-4o,gpt-4o-mini,our-model", **database}
    assert run("prices", "list", **database).stdout.count("\n") == 1, "the demo has no prices"
    rows = [line.split("\t") for line in run("prices", "list", **models).stdout.splitlines()[1:]]
    assert {row[0] for row in rows} == {""}, "only one's own prices have an id"
    assert [(row[8].split()[0], *row[1:7]) for row in rows] == [
        ("genai-prices", "gpt-4o", "openai", "", "2.5", "1.25", "10"),
        ("genai-prices", "gpt-4o-mini", "openai", "", "0.15", "0.075", "0.6"),
        ("no", "our-model", "openai", "", "", "", ""),
    ]
    run("prices", "set", "gpt-4o", "--input", "3", "--output", "9", **database)
    names = [line.split("\t")[1] for line in run("prices", "list", **models).stdout.splitlines()[1:]]
    assert names == ["gpt-4o", "gpt-4o-mini", "our-model"], "one's own price is in force"


def test_the_default_project_is_listed_on_a_new_database(run: CommandLine, database: dict[str, str]) -> None:
    assert run("projects", "list", **database).stdout.splitlines()[1].split("\t")[:2] == ["default", "Default"]


async def test_a_price_file_is_imported_completely_or_not_at_all(
    run: CommandLine, database: dict[str, str], layer: ChainlitLayer
) -> None:
    path = run.directory / "prices.csv"
    path.write_text(f"{HEADER}\nA,,1,0.5,2,,\n(,,1,,2,,\nB,,,,2,,\nC,,1,,dear,,\nD,,1,,2,,soon\nE,,1,,2,,,too much\n")
    done = run("prices", "import", "prices.csv", **database)
    assert done.returncode == 1
    assert [line.split(":")[0] for line in done.stderr.splitlines()[:-1]] == [f"line {n}" for n in (3, 4, 5, 6, 7)]
    assert "dear" in done.stderr
    assert await layer.list_prices() == []

    path.write_text(f"\ufeff{HEADER}\nA,,1,0.5,2,,\nB,azure,1,,2,0.01,2026-01-01\n")
    done = run("prices", "import", "prices.csv", **database)
    assert (done.returncode, done.stdout) == (0, "Imported 2 prices.\n")
    (run.directory / "more.json").write_text(json.dumps([{"model": "C", "input": 0.15, "output": "0.6"}]))
    assert run("prices", "import", "more.json", **database).stdout == "Imported 1 price.\n"
    found = {price.pattern: price for price in await layer.list_prices()}
    assert (found["A"].cached, found["B"].provider, found["B"].image) == (Decimal("0.5"), "azure", Decimal("0.01"))
    assert found["C"].input == Decimal("0.15")

    (run.directory / "spaced.csv").write_text("Model , INPUT, Output\nD, 1, 2\n")
    assert run("prices", "import", "spaced.csv", **database).stdout == "Imported 1 price.\n"
    assert [price.input for price in await layer.list_prices() if price.pattern == "D"] == [1]
    for number, delimiter in enumerate(";\t"):
        text = f"model,input,output\nE{number},1,2\n".replace(",", delimiter)
        (run.directory / "excel.csv").write_text(text, encoding="utf-16" if delimiter == "\t" else "utf-8-sig")
        assert run("prices", "import", "excel.csv", **database).stdout == "Imported 1 price.\n"
    for name, text in (
        ("a.csv", "model,input\nA,1\n"), ("b.json", "{}"), ("c.json", "["), ("d.csv", HEADER),
        ("e.csv", "model,input,Input,output\nA,1,2,3\n"), ("f.txt", "model,input,output\nA,1,2\n"),
    ):  # fmt: skip
        (run.directory / name).write_text(text)
        assert run("prices", "import", name, **database).returncode == 1
    assert run("prices", "import", "nowhere.csv", **database).returncode == 1


async def test_reprice_finds_the_price_of_a_deployment_whose_model_was_not_named(
    run: CommandLine, database: dict[str, str], layer: ChainlitLayer
) -> None:
    """Older versions stored the empty name of Azure's first chunk."""
    tokens = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "provider": "azure"}
    await layer.record_call(call("2026-03-10T12:00:00Z", model="ours", answered_by="gpt-4o-mini", **tokens))
    old = call("2026-03-09T12:00:00Z", model="ours", **tokens)
    await layer.record_call(old)
    await layer.record_call(call("2026-03-09T12:00:00Z", model="theirs", **tokens))
    async with layer.database.write() as connection:
        await connection.execute(update(llm_calls).where(llm_calls.c.id == old.id).values(answeredBy=""))
    done = run("reprice", "--since", "2026-03-01", "--apply", **database)
    assert done.stdout.splitlines() == [
        "Checked 3 calls with tokens since 2026-03-01 00:00:00+00:00.",
        "The cost of 2 calls changed: unknown → $0.3.",
    ]
    assert [found.total_cost for found in await calls(layer)].count(None) == 1


async def test_reprice_changes_only_calls_whose_cost_differs(
    run: CommandLine, database: dict[str, str], layer: ChainlitLayer
) -> None:
    tokens = {"prompt_tokens": 1_000_000, "completion_tokens": 100_000}
    old = call("2026-01-01T00:00:00Z", model="own", **tokens)
    unknown = call("2026-03-10T12:00:00Z", model="own", **tokens)
    dearer = call("2026-03-10T13:00:00Z", model="own", **tokens, input_cost=Decimal(9), output_cost=Decimal(9),
                  total_cost=Decimal(18))  # fmt: skip
    same = call("2026-03-10T14:00:00Z", model="own", **tokens, input_cost=Decimal(1), output_cost=Decimal("0.2"),
                total_cost=Decimal("1.2"), price={"source": "as it was"})  # fmt: skip
    nobodys = call("2026-03-10T15:00:00Z", model="nobody-knows", **tokens, total_cost=Decimal(7))
    failed = call("2026-03-10T16:00:00Z", model="own", status_code=500)
    for record in (old, unknown, dearer, same, nobodys, failed):
        await layer.record_call(record)
    run("prices", "set", "own", "--input", "1", "--output", "2", "--from", "2025-01-01", **database)
    before = await calls(layer)
    dry = run("reprice", "--since", "2026-03-01", **database)
    assert dry.stdout.splitlines() == [
        "Checked 4 calls with tokens since 2026-03-01 00:00:00+00:00; 1 without tokens skipped.",
        "The cost of 2 calls would change: $18 (unknown for 1) → $2.4 (-$15.6).",
        "1 call without a current price keeps its cost ($7). Use --forget to set it to unknown.",
        "Dry run: nothing was changed. To apply, run `threadkeeper reprice --since 2026-03-01 --apply`.",
    ]
    assert await calls(layer) == before
    done = run("reprice", "--since", "2026-03-01", "--apply", **database)
    assert "The cost of 2 calls changed: $18" in done.stdout
    after = {record.id: record for record in await calls(layer)}
    assert [after[one.id].total_cost for one in (old, unknown, dearer, same, nobodys, failed)] == [
        None, Decimal("1.2"), Decimal("1.2"), Decimal("1.2"), Decimal(7), None,
    ]  # fmt: skip
    assert (after[unknown.id].price or {})["source"].startswith("own ")
    assert after[same.id].price == {"source": "as it was"}
    assert run("reprice", "--since", "2026-03-01", **database).stdout.splitlines() == [
        "Checked 4 calls with tokens since 2026-03-01 00:00:00+00:00; 1 without tokens skipped.",
        "No cost would change.",
        "1 call without a current price keeps its cost ($7). Use --forget to set it to unknown.",
    ]
    assert run("reprice", "--since", "yesterday", **database).returncode == 1


async def test_costs_of_a_wrong_price_can_be_removed(
    run: CommandLine, database: dict[str, str], layer: ChainlitLayer
) -> None:
    price = run("prices", "set", "own", "--input", "999999", "--output", "1", "--from", "2025-01-01", **database)
    wrong = call(model="own", prompt_tokens=1_000_000, completion_tokens=0)
    seen = replace(wrong, id=new_id(), price={"images": 2})
    known = call(model="gpt-4o-mini", prompt_tokens=1_000_000, completion_tokens=0)
    for record in (wrong, seen, known):
        await layer.record_call(record)
    run("reprice", "--since", "2026-03-01", "--apply", **database)
    ended = run("prices", "end", price.stdout.split("Price ")[1].split(".")[0], **database)
    assert "`threadkeeper reprice --since DATE --forget`" in ended.stdout
    kept = run("reprice", "--since", "2026-03-01", "--apply", **database)
    assert (
        "2 calls without a current price keep their cost ($1999998). Use --forget to set them to unknown."
        in kept.stdout
    )

    before = await calls(layer)
    dry = run("reprice", "--since", "2026-03-01 00:00", "--forget", **database).stdout.splitlines()
    assert dry == [
        "Checked 3 calls with tokens since 2026-03-01 00:00:00+00:00.",
        "No cost would change.",
        "The cost of 2 calls without a current price would become unknown ($1999998 before).",
        "Dry run: nothing was changed. "
        "To apply, run `threadkeeper reprice --since '2026-03-01 00:00' --forget --apply`.",
    ]
    assert await calls(layer) == before
    done = run("reprice", "--since", "2026-03-01", "--forget", "--apply", **database)
    assert "The cost of 2 calls without a current price became unknown ($1999998 before)." in done.stdout
    after = {record.id: record for record in await calls(layer)}
    assert (after[wrong.id].input_cost, after[wrong.id].output_cost, after[wrong.id].total_cost) == (None, None, None)
    assert (after[wrong.id].price, after[seen.id].price) == (None, {"images": 2})
    assert after[known.id] == {record.id: record for record in before}[known.id]
    (gone, *_) = [one for one in (await layer.usage_by(CallFilter(), "model")) if one.value == "own"]
    assert gone.totals.unpriced == 2
    assert run("verify", **database).returncode == 0
    assert "without a current price" not in run("reprice", "--since", "2026-03-01", **database).stdout


async def test_a_price_of_one_path_of_a_host_is_still_listed(
    run: CommandLine, database: dict[str, str], layer: ChainlitLayer
) -> None:
    await layer.record_call(
        call(provider="router.huggingface.co", model="openai/gpt-oss-120b", prompt_tokens=1_000, completion_tokens=0,
             input_cost=Decimal(1), output_cost=Decimal(0), total_cost=Decimal(1))
    )  # fmt: skip
    reprice = ("reprice", "--since", "2026-03-01", "--forget")
    address = "https://router.huggingface.co/groq/openai/v1"
    assert "The cost of 1 call would change" in run(*reprice, OPENAI_BASE_URL=address, **database).stdout


async def test_dates_are_in_the_configured_time_zone(
    run: CommandLine, database: dict[str, str], layer: ChainlitLayer
) -> None:
    berlin = {**database, "USAGE_TIME_ZONE": "Europe/Berlin"}
    for moment in ("2026-02-28T22:59:59Z", "2026-02-28T23:00:00Z"):
        await layer.record_call(call(moment, model="own", prompt_tokens=1_000_000, completion_tokens=0))
    done = run("prices", "set", "own", "--input", "1", "--output", "1", "--from", "2026-03-01", **berlin)
    assert "from 2026-03-01 00:00:00+01:00." in done.stdout
    (run.directory / "prices.csv").write_text(
        "model,input,output,valid_from\nB,1,1,2026-07-01\nC,1,1,2026-07-01T00:00Z\n"
    )
    assert run("prices", "import", "prices.csv", **berlin).returncode == 0
    found = {price.pattern: price.valid_from for price in await layer.list_prices()}
    assert found == {
        "own": "2026-02-28T23:00:00.000000Z",
        "B": "2026-06-30T22:00:00.000000Z",
        "C": "2026-07-01T00:00:00.000000Z",
    }
    printed = run("reprice", "--since", "2026-03-01", "--apply", **berlin).stdout.splitlines()
    assert printed == [
        "Checked 1 call with tokens since 2026-03-01 00:00:00+01:00.",
        "The cost of 1 call changed: unknown → $1.",
    ]
    assert [record.total_cost for record in await calls(layer)] == [None, 1]


def test_prices_set_names_the_price_that_overrides_the_new_one(run: CommandLine, database: dict[str, str]) -> None:
    def set_price(model: str, since: str, *more: str) -> str:
        return run("prices", "set", model, "--input", "1", "--output", "1", "--from", since, *more, **database).stdout

    later = set_price("gpt-.*", "2026-06-01", "--provider", "azure").split("Price ")[1].split(".")[0]
    printed = set_price("gpt-4o", "2026-03-01")
    assert f"From 2026-06-01 00:00:00+00:00, a price with a later --from overrides it: gpt-.*, price {later}" in printed
    for model, since, more in (
        ("gpt-4o", "2026-06-02", ()), ("claude", "2026-03-01", ()), ("gpt-4o", "2026-03-01", ("--provider", "openai")),
    ):  # fmt: skip
        run("prices", "end", set_price(model, since, *more).split("Price ")[1].split(".")[0], **database)
    run("prices", "end", later, **database)
    assert "overrides it" not in set_price("gpt-4o", "2026-03-01")
    ahead = set_price("o9", "2199-01-01")
    assert "Until then nothing changes." in ahead
    assert "Past calls keep their cost" not in ahead


def test_prices_set_says_how_past_calls_are_included(run: CommandLine, database: dict[str, str]) -> None:
    price = ("prices", "set", "gpt-4o", "--input", "1", "--output", "1")
    assert "set it with `--from DATE`, then run `threadkeeper reprice --since DATE`" in run(*price, **database).stdout
    earlier = run(*price, "--from", "2026-03-01", **database).stdout
    assert "To recalculate them, run `threadkeeper reprice --since DATE`." in earlier
    assert "set it with" not in earlier


async def test_projects_and_limits_are_set_listed_and_removed(
    run: CommandLine, database: dict[str, str], layer: ChainlitLayer
) -> None:
    alice = await layer.add_account("alice", "hash")
    done = run("projects", "set", "lab", "--name", "The lab", "--owner", "alice", "--tag", "a", "--tag", "b",
               "--provider", "slug=azure,base_url=https://x.openai.azure.com,secret=AZURE_KEY,passes_key=true",
               **database)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert run("projects", "set", "lab", "--organisation", "ACME", **database).returncode == 0
    (project,) = await layer.list_projects()
    assert (project.name, project.owner, project.organisation, project.tags) == ("The lab", "alice", "ACME", ("a", "b"))
    assert project.providers[0].secret == "AZURE_KEY"
    assert project.providers[0].passes_key is True
    assert "lab\tThe lab\talice\tACME\ta, b\tazure" in run("projects", "list", **database).stdout
    refused: list[tuple[str, ...]] = [
        ("No Slug",),
        ("x", "--owner", "nobody"),
        ("x", "--provider", "slug=a,secret=sk-123"),
        ("x", "--provider", "slug=a,secret=CHAINLIT_AUTH_SECRET"),
        ("x", "--provider", "slug=a,passes_key=maybe"),
    ]
    for wrong in refused:
        done = run("projects", "set", *wrong, **database)
        assert (done.returncode, "sk-123" in done.stderr) == (1, False)

    for arguments in (("5", "dollars", "month", "--project", "lab"), ("100000", "tokens", "day", "--user", "alice")):
        assert run("limits", "set", *arguments, **database).returncode == 0
    assert "Each user can use 10 tokens per day" in run("limits", "set", "10", "tokens", "day", **database).stdout
    again = run("limits", "set", "100000", "tokens", "day", "--user", "alice", **database).stdout
    assert "For this user, it replaces the limit of 10 for each user." in again
    await layer.record_call(
        call(utc_now(), user_id=alice.id, project_id=project.id, prompt_tokens=7, total_cost=Decimal("0.5"))
    )
    listed = [line.split("\t") for line in run("limits", "list", **database).stdout.splitlines()[1:]]
    assert [line[1:] for line in listed] == [
        ["project lab", "5", "dollars", "month", "0.5"],
        ["user alice", "100000", "tokens", "day", "7"],
        ["each user", "10", "tokens", "day", ""],
    ]
    for line in listed:
        assert run("limits", "remove", line[0], **database).returncode == 0
    assert await layer.list_limits() == []
    assert run("limits", "remove", listed[0][0], **database).returncode == 1
    for wrong in (("1", "tokens", "day", "--user", "nobody"), ("1.5", "tokens", "day"), ("x", "dollars", "day")):
        assert run("limits", "set", *wrong, **database).returncode == 1
    before = len(await layer.list_projects())
    asked = run("projects", "delete", "lab", given="n\n", **database)
    assert (asked.returncode, len(await layer.list_projects())) == (1, before)
    done = run("projects", "delete", "lab", "--yes", **database)
    assert done.stdout.startswith("Deleted the project lab with 1 provider, "), done
    assert run("projects", "delete", "lab", "--yes", **database).returncode == 1


async def test_costs_are_verified(run: CommandLine, database: dict[str, str], layer: ChainlitLayer) -> None:
    costs: dict[str, Any] = {
        "input_cost": Decimal("0.5"),
        "output_cost": Decimal("0.25"),
        "total_cost": Decimal("0.75"),
    }
    price = {"source": "own", "input": "0.5", "cached": "0.5", "output": "2.5"}
    record = call(prompt_tokens=1_000_000, completion_tokens=100_000, price=price, **costs)
    await layer.record_call(record)
    done = run("verify", **database)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 call, 1,100,000 tokens, $0.75 (0 without a price, 0 with estimated tokens)." in done.stdout
    await layer.record_call(replace(record, price=price | {"output": "3"}))
    done = run("verify", **database)
    assert (done.returncode, done.stderr) == (1, "1 problem found.\n")
    assert record.id in done.stdout


def test_the_chats_own_project_can_be_limited_before_its_first_call(run: CommandLine, database: dict[str, str]) -> None:
    done = run("limits", "set", "100", "dollars", "month", "--project", "default", **database)
    assert (done.returncode, done.stderr) == (0, "")
    assert "The project default can use 100 dollars per month." in done.stdout
    assert run("projects", "list", **database).stdout.splitlines()[1].startswith("default\tDefault\t")
    assert run("limits", "list", **database).stdout.splitlines()[1].split("\t")[1:] == [
        "project default", "100", "dollars", "month", "0",
    ]  # fmt: skip
