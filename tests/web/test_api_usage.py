"""The API for usage: transactions and their filters, totals, statistics, portfolio, projects, prices and limits."""

from decimal import Decimal
from typing import Any

import httpx
import pytest

from datalayer import Limit, Project, User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from datalayer.records.usage import LlmCallPayload, Price
from tests.support.calls import call
from tests.support.records import new_id
from tests.web.conftest import Program, problem
from threadkeeper.review_policy import ReviewPolicy

DAY = {"since": "2026-03-10", "until": "2026-03-11"}


async def record(layer: ChainlitLayer, clock: str = "12:00", **fields: Any) -> str:
    """Store a call on 10 March with its messages; returns its id."""
    values = {"prompt_tokens": 100, "completion_tokens": 20, "total_cost": Decimal("0.01"), **fields}
    made = call(f"2026-03-10T{clock}:00.000000Z", **values)
    await layer.record_call(made, LlmCallPayload(made.id, [{"role": "user", "content": "Hello"}], "Hi"))
    return made.id


async def ids(program: httpx.AsyncClient, **filters: Any) -> list[str]:
    answer = await program.get("/transactions", params=filters)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["data"]]


async def test_transactions_are_filtered_sorted_and_read_in_pages(
    program_of: Program, layer: ChainlitLayer, people: dict[str, User]
) -> None:
    me = people["user"].id
    lab = await layer.put_project(Project(new_id(), "The lab", "lab", owner="uma"))
    one = await record(layer, "09:00", user_id=me, tags=("a", "b"), project_id=lab.id, total_cost=Decimal("0.5"))
    two = await record(layer, "10:00", user_id=me, tags=("a",), model="gpt-4.1", provider="127.0.0.1")
    bad = await record(layer, "11:00", user_id=me, status_code=500, kind="embedding", total_cost=None)
    others = await record(layer, "12:00", user_id=people["admin"].id)
    program = await program_of(scopes=["usage:read"])
    assert await ids(program) == [bad, two, one]
    for filters, found in (
        ({"tag": ["a", "b"]}, [one]),
        ({"tag": "a"}, [two, one]),
        ({"project": "lab"}, [one]),
        ({"status": "5"}, [bad]),
        ({"status": ["2", "5"], "type": "embedding"}, [bad]),
        ({"provider_model": "127.0.0.1.gpt-4.1"}, [two]),
        ({"model": "gpt-4.1", "provider": "openai"}, []),
        ({"since": "2026-03-10T09:30:00Z", "until": "2026-03-10T11:00:00Z"}, [two]),
        ({"since": "2026-03-10T10:30", "zone": "Europe/Berlin"}, [bad, two]),
        ({"sort": "cost"}, [one, two, bad]),
        ({"sort": "request_time", "direction": "ascending"}, [one, two, bad]),
    ):
        assert await ids(program, **filters) == found, filters
    first = (await program.get("/transactions", params={"limit": 2, "sort": "cost"})).json()
    rest = {"limit": 2, "sort": "cost", "cursor": first["next_cursor"]}
    assert await ids(program, **rest) == [bad]
    wrong = await program.get("/transactions", params=rest | {"sort": "tokens"})
    assert problem(wrong) == (422, "invalid")
    for name, value in (("since", "yesterday"), ("zone", "Berlin"), ("status", "9"), ("limit", "0"), ("sort", "x")):
        answer = await program.get("/transactions", params={name: value})
        assert problem(answer) == (422, "invalid")
        assert answer.json()["errors"][0]["field"].startswith(f"query.{name}")
    for path in ("/transactions", "/usage", "/statistics", "/portfolio"):
        answer = await program.get(path, params={"since": "2026-03-11", "until": "2026-03-10"})
        assert (problem(answer), answer.json()["errors"][0]["field"]) == ((422, "invalid"), "query.until"), path

    whole = (await program.get(f"/transactions/{one}")).json()
    assert (whole["project"], whole["tags"], whole["type"]) == ("The lab", ["a", "b"], "chat")
    assert (whole["input_tokens"], whole["output_tokens"], whole["total_cost"]) == (100, 20, "0.5")
    assert (whole["prompt"], whole["last_message"], whole["request_time"]) == (
        "Hello",
        "Hi",
        "2026-03-10T09:00:00.000000Z",
    )
    assert problem(await program.get(f"/transactions/{others}")) == (404, "not-found")
    assert problem(await program.get("/transactions", params={"user_id": me})) == (403, "forbidden")


async def test_an_admin_reads_all_and_the_messages_of_others_with_a_row_in_the_audit(
    program_of: Program, layer: ChainlitLayer, people: dict[str, User]
) -> None:
    theirs = await record(layer, user_id=people["user"].id)
    program = await program_of("admin", scopes=["usage:read"])
    assert await ids(program, user_id=people["user"].id) == [theirs]
    assert (await program.get(f"/transactions/{theirs}")).json()["response"] == "Hi"
    (entry,) = [one for one in (await layer.list_audit()).entries if one.action == "read_call"]
    assert (entry.actor, entry.details) == ("ada", {"call": theirs})
    assert problem(await program.get("/settings")) == (403, "scope-missing")


@pytest.mark.parametrize("review_policy", [ReviewPolicy(asks_purpose=True)])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_where_reading_needs_a_purpose_the_messages_of_others_are_withheld(
    program_of: Program, layer: ChainlitLayer, people: dict[str, User]
) -> None:
    theirs = await record(layer, user_id=people["user"].id)
    found = (await (await program_of("admin", scopes=["usage:read"])).get(f"/transactions/{theirs}")).json()
    assert (found["is_withheld"], found["messages"], found["response"]) == (True, None, None)
    assert not [one for one in (await layer.list_audit()).entries if one.action == "read_call"]


async def test_groups_come_by_pages_with_the_sums_of_the_rest(
    program_of: Program, layer: ChainlitLayer, people: dict[str, User]
) -> None:
    for number in range(5):
        await record(layer, user_id=people["user"].id, model=f"model-{number}", total_cost=Decimal(number + 1))
    program = await program_of(scopes=["usage:read"])
    first = (await program.get("/usage", params=DAY | {"limit": 2})).json()
    assert [one["value"] for one in first["groups"]] == ["model-4", "model-3"]
    assert (first["count"], first["totals"]["calls"]) == (5, 5)
    assert (first["rest"]["calls"], first["rest"]["total_cost"], first["rest"]["mean_seconds"]) == (3, "6", None)
    whole = DAY | {"limit": 3, "cursor": first["next_cursor"]}
    rest = (await program.get("/usage", params=whole)).json()
    assert [one["value"] for one in rest["groups"]] == ["model-2", "model-1", "model-0"]
    assert (rest["rest"], rest["next_cursor"]) == (None, None)
    for wrong in ({"cursor": "x"}, {"cursor": "1", "by": "day"}, {"limit": "0"}):
        assert problem(await program.get("/usage", params={**DAY, **wrong})) == (422, "invalid")
    # A filter that is not one would give the calls of all.
    for path, name, value in (
        ("/usage", "by", "nope"),
        ("/transactions", "tags", "a,b"),
        ("/transactions", "page", "2"),
        ("/transactions", "cursor", "x"),
        ("/statistics", "zone", "Nope"),
    ):
        refused = await program.get(path, params={name: value})
        assert problem(refused) == (422, "invalid")
        assert {one["field"] for one in refused.json()["errors"]} == {f"query.{name}"}


async def test_usage_statistics_and_portfolio_are_those_of_the_calls(
    program_of: Program, layer: ChainlitLayer, people: dict[str, User]
) -> None:
    program = await program_of(scopes=["usage:read"])
    with acting_as("uma"):
        key, _ = await layer.create_api_key("Nightly", ["gateway"])
    me = people["user"].id
    lab = await layer.put_project(Project(new_id(), "The lab", "lab", owner="uma"))
    secret = await layer.put_project(Project(new_id(), "Of others", "secret", owner="ada"))
    await record(layer, "09:00", user_id=me, project_id=lab.id, key_id=key.id)
    await record(layer, "11:02", user_id=me, project_id=lab.id, model="m2", total_cost=Decimal("0.0000001"))
    await record(layer, "12:00", user_id=people["admin"].id, project_id=secret.id)

    used = (await program.get("/usage", params=DAY)).json()
    assert (used["totals"]["calls"], used["totals"]["total_cost"], used["totals"]["total_tokens"]) == (
        2,
        "0.0100001",
        240,
    )
    assert [(one["value"], one["totals"]["calls"]) for one in used["groups"]] == [("gpt-x", 1), ("m2", 1)]
    by_key = (await program.get("/usage", params=DAY | {"by": "key"})).json()["groups"]
    assert [(one["value"], one["name"]) for one in by_key] == [(key.id, "Nightly"), (None, None)]
    days = (await program.get("/usage", params={"since": "2026-03-09", "until": "2026-03-12", "by": "day"})).json()
    assert [one["totals"]["calls"] for one in days["groups"]] == [0, 2, 0]
    assert problem(await program.get("/usage", params={"by": "user"})) == (403, "forbidden")

    hours = (await program.get("/statistics", params=DAY | {"interval": "hour", "zone": "Asia/Shanghai"})).json()
    some: dict[str, Any] = {"interval": "hour", "zone": "Asia/Shanghai", "limit": 20}
    first = (await program.get("/statistics", params=DAY | some)).json()
    rest = (await program.get("/statistics", params=DAY | some | {"cursor": first["next_cursor"]})).json()
    assert (first["data"] + rest["data"], rest["next_cursor"]) == (hours["data"], None)
    assert (len(hours["data"]), hours["data"][0]["start"]) == (24, "2026-03-09T16:00:00.000000Z")
    by_hour = {one["start"]: one["totals"]["calls"] for one in hours["data"] if one["totals"]["calls"]}
    assert by_hour == {"2026-03-10T09:00:00.000000Z": 1, "2026-03-10T11:00:00.000000Z": 1}
    for interval, number in (("5 minutes", 288), ("day", 1), ("week", 1), ("month", 1), ("year", 1)):
        found = (await program.get("/statistics", params=DAY | {"interval": interval})).json()["data"]
        assert (len(found), sum(one["totals"]["calls"] for one in found)) == (number, 2)
    # The default period moves with the time, and pages go on in that of the first one.
    lately: dict[str, Any] = {"interval": "year", "limit": 1}
    page = (await program.get("/statistics", params=lately | {"until": "2026-03-11", "since": "2025-12-31"})).json()
    found = []
    while page["next_cursor"]:
        found += page["data"]
        page = (await program.get("/statistics", params=lately | {"cursor": page["next_cursor"]})).json()
    assert [one["totals"]["calls"] for one in [*found, *page["data"]]] == [0, 2]
    for wrong in ("x", "x~y~z", page["data"][0]["start"], "2026-03-10~2026-03-11~x~"):
        refused = await program.get("/statistics", params={"cursor": wrong})
        assert (problem(refused), refused.json()["errors"][0]["field"]) == ((422, "invalid"), "query.cursor"), wrong
    split = (await program.get("/statistics", params=DAY | {"split_by": "model"})).json()["data"]
    assert [(one["value"], one["totals"]["calls"]) for one in split] == [("gpt-x", 1), ("m2", 1)]
    too_many = {"interval": "5 minutes", "since": "2020-01-01", "until": "2026-01-01"}
    assert problem(await program.get("/statistics", params=too_many)) == (422, "invalid")

    found = (await program.get("/portfolio", params=DAY)).json()
    assert found["totals"]["calls"] == 2
    assert [(one["project"]["slug"], one["totals"]["calls"]) for one in found["projects"]] == [("lab", 2)]
    whole = (await (await program_of("admin", scopes=["usage:read"])).get("/portfolio", params=DAY)).json()
    assert {one["project"]["slug"]: one["totals"]["calls"] for one in whole["projects"]} == {"lab": 2, "secret": 1}


async def test_projects_are_made_changed_and_shown_to_those_who_may_use_them(
    program_of: Program, layer: ChainlitLayer
) -> None:
    await layer.default_project()
    admin, program = await program_of("admin", scopes=["admin", "usage:read"]), await program_of(scopes=["usage:read"])
    provider = {"slug": "openai", "base_url": "https://api.example.com/v1", "secret": "LAB_KEY"}
    wanted: dict[str, Any] = {
        "slug": "lab",
        "name": "The lab",
        "tags": ["x"],
        "owner": "uma",
        "organisation": "Physics",
    }
    wanted |= {"providers": [provider]}
    again = {"Idempotency-Key": "one"}
    made = await admin.post("/projects", json=wanted, headers=again)
    assert made.status_code == 201, made.text
    replayed = await admin.post("/projects", json=wanted, headers=again)
    assert (replayed.json(), replayed.headers["idempotency-replayed"]) == (made.json(), "true")
    assert problem(await admin.post("/projects", json=wanted)) == (409, "exists")
    assert made.json() | wanted | {"providers": made.json()["providers"]} == made.json()
    assert made.json()["providers"][0] | provider == made.json()["providers"][0]

    for field, bad in (("slug", "No slug!"), ("owner", "nobody"), ("providers", [{"slug": "x", "secret": "sk-1"}])):
        assert problem(await admin.post("/projects", json={"slug": "other", field: bad}))[0] == 422
    # The secrets of the server itself are no keys of providers.
    for own in ("CHAINLIT_AUTH_SECRET", "DATABASE_URL", "OPENAI_API_KEY", "OAUTH_GITHUB_CLIENT_SECRET"):
        taking = await admin.patch("/projects/lab", json={"providers": [provider | {"secret": own}]})
        assert (problem(taking), taking.json()["errors"][0]["field"]) == ((422, "invalid"), "body.providers.0.secret")
    changed = await admin.patch(
        "/projects/lab", json={"description": "New"}, headers={"If-Match": made.headers["etag"]}
    )
    assert (changed.json()["description"], changed.json()["name"]) == ("New", "The lab")
    late = await admin.patch("/projects/lab", json={"name": "Late"}, headers={"If-Match": made.headers["etag"]})
    assert problem(late) == (412, "changed")
    assert problem(await program.patch("/projects/lab", json={"name": "Mine"})) == (403, "scope-missing")

    await admin.post("/projects", json={"slug": "zoo"})
    assert [one["slug"] for one in (await admin.get("/projects")).json()["data"]] == ["default", "lab", "zoo"]
    shown = (await program.get("/projects")).json()["data"]
    assert [one["slug"] for one in shown] == ["default", "lab"]
    assert [one["secret"] for one in shown[1]["providers"]] == [None]
    assert problem(await program.get("/projects/zoo")) == (404, "not-found")
    settings = {one["variable"]: one["value"] for one in (await admin.get("/settings")).json()["data"]}
    assert settings["USAGE_TIME_ZONE"] == "UTC"


async def test_prices_and_limits_are_read(program_of: Program, layer: ChainlitLayer, people: dict[str, User]) -> None:
    for number in range(3):
        await layer.add_price(Price(new_id(), f"gpt-{number}", f"2026-01-0{number + 1}", Decimal("2.5"), Decimal(10)))
    program = await program_of(scopes=["usage:read"])
    first = (await program.get("/prices", params={"limit": 2})).json()
    rest = (await program.get("/prices", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [one["model"] for one in first["data"] + rest["data"]] == ["gpt-2", "gpt-1", "gpt-0"]
    assert (first["data"][0]["input"], first["data"][0]["cached"], rest["next_cursor"]) == ("2.5", None, None)
    assert problem(await program.get("/prices", params={"cursor": "x"})) == (422, "invalid")

    own = await layer.put_limit(Limit(new_id(), "user", people["user"].id, "day", "tokens", Decimal(1000)))
    others = await layer.put_limit(Limit(new_id(), "user", people["admin"].id, "day", "tokens", Decimal(1000)))
    await layer.record_call(call(utc_now(), user_id=people["user"].id, prompt_tokens=60, completion_tokens=0))
    (limit,) = (await program.get("/limits")).json()["data"]
    assert (limit["id"], limit["used"], limit["left"]) == (own.id, "60", "940")
    admins = await program_of("admin", scopes=["usage:read"])
    whole = (await admins.get("/limits")).json()["data"]
    first = (await admins.get("/limits", params={"limit": 1})).json()
    rest = (await admins.get("/limits", params={"cursor": first["next_cursor"]})).json()
    assert first["data"] + rest["data"] == whole
    assert {one["id"]: one["used"] for one in whole} == {own.id: None, others.id: "0"}


async def test_admins_set_change_and_remove_prices_and_limits(
    program_of: Program, layer: ChainlitLayer, people: dict[str, User]
) -> None:
    admin, user = await program_of("admin", scopes=["admin", "usage:read"]), await program_of(scopes=["usage:read"])
    assert problem(await user.post("/limits", json={})) == (403, "scope-missing")
    lab = await layer.put_project(Project(new_id(), "The lab", "lab"))
    with acting_as("uma"):
        (key,) = await layer.list_api_keys()
    given = {"period": "month", "unit": "dollars", "amount": "2.5"}
    subjects = (
        ("user", "uma", people["user"].id),
        ("project", "lab", lab.id),
        ("project", "default", await layer.default_project()),
        ("key", key.id, key.id),
        ("users", None, None),
    )
    for scope, subject, subject_id in subjects:
        answer = await admin.post("/limits", json={"scope": scope, "subject": subject, **given})
        assert (answer.status_code, answer.json()["subject_id"], answer.json()["amount"]) == (201, subject_id, "2.5")
        missing = await admin.post(
            "/limits", json={"scope": scope, "subject": "uma" if scope == "users" else "none", **given}
        )
        assert (problem(missing), missing.json()["errors"][0]["field"]) == ((422, "invalid"), "body.subject")
    assert len(await layer.list_limits()) == len(subjects)
    address, tag = answer.headers["location"].removeprefix("/api/v1"), answer.headers["etag"]
    again = await admin.post("/limits", json={"scope": "users", **given, "amount": 3})
    assert (again.json()["id"], again.json()["amount"]) == (answer.json()["id"], "3")
    assert problem(await admin.patch(address, json={"amount": 4}, headers={"If-Match": tag})) == (412, "changed")
    changed = await admin.patch(address, json={"amount": 4}, headers={"If-Match": again.headers["etag"]})
    assert (await admin.get(address)).headers["etag"] == changed.headers["etag"]
    assert (await admin.delete(address)).status_code == 204
    assert problem(await admin.delete(address)) == (404, "not-found")

    price = {"model": "gpt-4o(-.*)?", "input": "2.5", "output": 10, "valid_from": "2026-03-01"}
    made = (await admin.post("/prices", json=price)).json()
    assert (made["input"], made["output"], made["cached"], made["is_active"]) == ("2.5", "10", None, True)
    assert made["valid_from"] == "2026-03-01T00:00:00.000000Z"
    assert problem(await admin.post("/prices", json=price | {"model": "(a+)+("})) == (422, "invalid")
    for _ in range(2):
        assert (await admin.delete(f"/prices/{made['id']}")).json()["is_active"] is False
    assert [one.is_active for one in await layer.list_prices()] == [False]
    assert problem(await admin.delete("/prices/none")) == (404, "not-found")

    told = [
        (one.action, one.actor)
        for one in (await layer.list_audit()).entries
        if one.actor == "ada" and "key" not in one.action
    ]
    assert sorted(told) == sorted(
        [("put_limit", "ada")] * 7 + [("remove_limit", "ada"), ("add_price", "ada"), ("end_price", "ada")]
    )
