"""The API for assistants: their settings and versions, data sources, trainings, and who may do what."""

import base64
from typing import Any

import httpx
import pytest

from datalayer import User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from tests.web.conftest import KNOWLEDGE_LIMITS, Program, problem

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
MOST = int(KNOWLEDGE_LIMITS.megabytes * 1024 * 1024)
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
TRAVEL = {"slug": "travel", "settings": {"name": "Travel", "prompt": "Be brief.", "temperature": 0.5}}


@pytest.fixture
async def ada(program_of: Program) -> httpx.AsyncClient:
    """A program of an admin, and the assistant "travel"."""
    program = await program_of("admin", scopes=["assistants"])
    assert (await program.post("/assistants", json=TRAVEL)).status_code == 201
    return program


async def test_an_assistant_is_made_changed_restored_and_deleted(program_of: Program, people: dict[str, User]) -> None:
    ada, uma = await program_of("admin", scopes=["assistants"]), await program_of(scopes=["assistants"])
    once = {"Idempotency-Key": "1"}
    answer = await ada.post("/assistants", json=TRAVEL, headers=once)
    assert (answer.status_code, answer.headers["location"]) == (201, "/api/v1/assistants/travel")
    made = answer.json()
    assert made["settings"] | TRAVEL["settings"] == made["settings"]
    assert (made["version"], made["owner"], made["may_edit"], made["access"]["kind"]) == (1, "ada", True, "everyone")
    assert (await ada.post("/assistants", json=TRAVEL, headers=once)).headers["idempotency-replayed"] == "true"
    assert problem(await ada.post("/assistants", json=TRAVEL)) == (409, "exists")
    assert (await ada.get("/assistants/travel")).headers["etag"] == answer.headers["etag"]

    chinese = await ada.post("/assistants", json={"settings": {"name": "旅行"}})
    assert (chinese.status_code, chinese.json()["slug"]) == (201, "旅行")
    assert (await ada.get(chinese.headers["location"].removeprefix("/api/v1"))).json() == chinese.json()
    assert (await ada.delete("/assistants/旅行")).status_code == 204

    bad = {
        "settings": {"name": "", "temperature": 9, "max_tokens": 0},
        "access": {"kind": "users", "users": ["nobody"]},
    }
    wrong = await ada.post("/assistants", json=bad | {"slug": "other"})
    assert problem(wrong) == (422, "invalid")
    named = {one["field"] for one in wrong.json()["errors"]}
    assert {"body.settings.name", "body.settings.temperature", "body.settings.max_tokens"} <= named
    unknown = await ada.patch("/assistants/travel", json={"settings": {"colour": "red"}})
    assert unknown.json()["errors"][0]["field"] == "body.settings.colour"

    # Others use it, and see neither its versions nor change it.
    assert [one["slug"] for one in (await uma.get("/assistants")).json()["data"]] == ["travel"]
    assert (await uma.get("/assistants/travel")).json()["may_edit"] is False
    for method, path in (
        ("PATCH", "/assistants/travel"), ("DELETE", "/assistants/travel"), ("GET", "/assistants/travel/versions"),
        ("GET", "/assistants/travel/numbers"), ("GET", "/assistants/travel/sources"),
        ("POST", "/assistants/travel/trainings"), ("PUT", "/assistants/travel/picture"),
    ):  # fmt: skip
        refused = await uma.request(method, path, json={} if method in ("PATCH", "POST") else None)
        assert problem(refused) == (403, "forbidden"), (method, path)
    assert problem(await uma.post("/assistants", json=TRAVEL | {"slug": "mine"})) == (403, "forbidden")

    old = {"If-Match": answer.headers["etag"]}
    change = {"settings": {"prompt": "Be long.", "tips": ["Ask more"]}, "owner": "uma"}
    changed = await ada.patch("/assistants/travel", json=change, headers=old)
    assert (changed.json()["version"], changed.json()["owner"]) == (2, "uma")
    assert (changed.json()["settings"]["temperature"], changed.json()["settings"]["tips"]) == (0.5, ["Ask more"])
    assert problem(await uma.patch("/assistants/travel", json={"owner": "ada"}, headers=old)) == (412, "changed")
    assert problem(await uma.delete("/assistants/travel", headers=old)) == (412, "changed")
    weak = {"If-Match": f"W/{changed.headers['etag']}"}
    assert problem(await uma.delete("/assistants/travel", headers=weak)) == (412, "changed")
    restored = (await uma.post("/assistants/travel/versions/1/restore")).json()
    assert (restored["version"], restored["restored_from"], restored["settings"]["prompt"]) == (3, 1, "Be brief.")
    versions = (await uma.get("/assistants/travel/versions", params={"limit": 2})).json()
    assert ([one["version"] for one in versions["data"]], versions["next_cursor"]) == ([3, 2], "2")
    assert (await uma.get("/assistants/travel", params={"version": 2})).json()["settings"]["prompt"] == "Be long."
    assert (await uma.get("/assistants/travel/numbers")).json()["total"]["answers"] == 0

    pictured = await uma.put("/assistants/travel/picture", content=PIXEL)
    assert pictured.json()["picture"], pictured.text
    shown = await uma.get("/assistants/travel/picture")
    assert (shown.content, shown.headers["content-type"]) == (PIXEL, "image/png")
    assert problem(await uma.put("/assistants/travel/picture", content=b"no picture")) == (422, "invalid")

    only_admins = {"access": {"kind": "role", "role": "admin"}, "owner": "ada"}
    assert (await ada.patch("/assistants/travel", json=only_admins)).status_code == 200
    assert problem(await uma.get("/assistants/travel")) == (404, "not-found")
    assert (await ada.delete("/assistants/travel")).status_code == 204
    assert problem(await ada.get("/assistants/travel")) == (404, "not-found")


async def test_sources_are_added_replaced_listed_and_deleted(ada: httpx.AsyncClient, layer: ChainlitLayer) -> None:
    here = "/assistants/travel/sources"
    for wrong in ({}, {"kind": "none"}):
        refused = await ada.post("/assistants/travel/sources", json=wrong)
        assert problem(refused) == (422, "invalid")
        assert [one["field"] for one in refused.json()["errors"]] == ["body.kind"]
    pairs: dict[str, Any] = {"kind": "pairs", "title": "Hours", "pairs": [{"question": "When?", "answer": "At nine."}]}
    added = await ada.post(here, json=pairs)
    assert (added.status_code, added.json()["done"]) == (201, "added"), added.text
    assert added.headers["location"] == f"/api/v1{here}/{added.json()['source']['id']}"
    again = await ada.post(here, json=pairs)
    assert (again.status_code, again.json()["done"]) == (200, "unchanged")
    pairs["pairs"] *= 2
    twice = await ada.post(here, json=pairs)
    assert twice.json()["errors"][0]["field"] == "body.pairs.1"

    url = {"kind": "url", "address": "https://docs.example.com/guide?key=1", "title": "Guide"}
    assert (
        (await ada.post(here, json=url)).json()["source"]["options"]["address"].startswith("https://docs.example.com")
    )
    other = await ada.post(here, json=url | {"address": "https://elsewhere.example.com/"})
    assert other.json()["errors"][0]["field"] == "body.address"
    api = {"kind": "api", "address": "https://docs.example.com/items", "options": {"records": "data", "columns": ["a"]}}
    assert (await ada.post(here, json=api)).json()["source"]["options"]["columns"] == ["a"]

    once = {"Idempotency-Key": "file"}
    text = {"title": "hours.md"}
    file = await ada.post(f"{here}/files", params=text, content=b"# Hours\n\nNine.", headers=once)
    assert (file.status_code, file.json()["source"]["byte_size"]) == (201, 14), file.text
    replay = await ada.post(f"{here}/files", params=text, content=b"# Hours\n\nNine.", headers=once)
    assert (replay.headers["idempotency-replayed"], replay.json()) == ("true", file.json())
    other_body = await ada.post(f"{here}/files", params=text, content=b"# Hours\n\nTen.", headers=once)
    assert problem(other_body) == (422, "invalid")
    assert (await ada.post(f"{here}/files", params=text, content=b"Ten.")).json()["done"] == "replaced"
    assert problem(await ada.post(f"{here}/files", params={"title": "x.pdf"}, content=b"%PDF-no"))[0] == 422
    assert problem(await ada.post(f"{here}/files", params=text, content=b"x" * (MOST + 1))) == (413, "too-large")

    first = (await ada.get(here, params={"limit": 3})).json()
    rest = (await ada.get(here, params={"limit": 3, "cursor": first["next_cursor"]})).json()
    listed = [(one["kind"], one["title"], one["state"]) for one in first["data"] + rest["data"]]
    assert sorted(listed) == [
        ("api", "https://docs.example.com/items", "new"), ("file", "hours.md", "new"),
        ("pairs", "Hours", "new"), ("url", "Guide", "new"),
    ]  # fmt: skip
    source_id = added.json()["source"]["id"]
    assert (await ada.get(f"{here}/{source_id}")).json()["title"] == "Hours"
    assert (await ada.delete(f"{here}/{source_id}")).status_code == 204
    assert problem(await ada.get(f"{here}/{source_id}")) == (404, "not-found")
    assert problem(await ada.delete(f"{here}/{source_id}")) == (404, "not-found")
    with acting_as("ada"):
        await layer.create_assistant((await layer.get_assistant("travel")).settings, slug="twin")
    in_another = f"/assistants/twin/sources/{file.json()['source']['id']}"
    assert problem(await ada.get(in_another)) == (404, "not-found")
    assert problem(await ada.delete(in_another)) == (404, "not-found")


async def test_a_training_is_started_watched_and_cancelled(ada: httpx.AsyncClient, layer: ChainlitLayer) -> None:
    here = "/assistants/travel/trainings"
    assert problem(await ada.post(here)) == (409, "no-sources")
    pair = {"question": "When?", "answer": "At nine."}
    await ada.post("/assistants/travel/sources", json={"kind": "pairs", "title": "Hours", "pairs": [pair]})
    once = {"Idempotency-Key": "1"}
    started = await ada.post(here, headers=once)
    assert (started.status_code, started.json()["state"], started.json()["started_by"]) == (202, "new", "ada")
    address = f"{here}/{started.json()['id']}"
    assert started.headers["location"] == f"/api/v1{address}"
    assert (await ada.post(here, headers=once)).json() == started.json(), "a repetition starts no other one"
    assert problem(await ada.post(here)) == (409, "running")
    (job,) = (await layer.list_jobs(kinds=["training"])).jobs
    assert (job.key, job.owner) == (started.json()["id"], None)
    shown = (await ada.get(address)).json()
    assert (shown["state"], shown["done_sources"], shown["is_current"]) == ("new", 0, False)
    assert (await ada.post(f"{address}/cancel")).json()["state"] == "cancelled"
    assert problem(await ada.post(f"{address}/cancel")) == (409, "not-running")
    assert [one["state"] for one in (await ada.get(here)).json()["data"]] == ["cancelled"]
    assert problem(await ada.get(f"{here}/none")) == (404, "not-found")
