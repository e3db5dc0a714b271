"""The API for reviewers and admins: answers, threads, verdicts, the queue, exports; users with a receipt."""

import json
from typing import Any
from unittest.mock import AsyncMock

import pytest

from datalayer import InvalidRecord, User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.records import new_id
from tests.support.reviewing import talk
from tests.web.conftest import Program, problem
from threadkeeper.review_policy import ReviewPolicy

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
PASSWORD = "the difference engine"


async def audited(layer: ChainlitLayer) -> list[tuple[str, str | None, str | None]]:
    """What is in the audit of the review, oldest first: what, who, why."""
    found = [(one.action, one.actor, one.purpose) for one in reversed((await layer.list_audit()).entries)]
    return [one for one in found if one[0] != "create_key"]


async def test_a_reviewer_finds_reads_judges_and_exports(
    program_of: Program, layer: ChainlitLayer, people: dict[str, User]
) -> None:
    turn = await talk(layer, "uma", thumb=0, comment="no", tags=["geo"])
    await talk(layer, "ada", "another question", at="2026-03-02T10:00:00.000000Z")
    rita = await program_of("reviewer", scopes=["reviews"])
    with acting_as("uma"), pytest.raises(InvalidRecord, match="reviews"):
        await layer.create_api_key("mine", ["reviews"])

    first = (await rita.get("/reviews/answers", params={"limit": 1})).json()
    (rest,) = (await rita.get("/reviews/answers", params={"cursor": first["next_cursor"]})).json()["data"]
    # Threads are sorted as answers are: by a time and an id.
    reader = await program_of("reviewer", scopes=["threads:read"])
    elsewhere = await reader.get("/threads", params={"cursor": first["next_cursor"]})
    assert (elsewhere.status_code, elsewhere.json()["errors"][0]["field"]) == (422, "query.cursor")
    assert first["texts_left"] == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer.search_indexer, "all_left", AsyncMock(return_value=12_000))
        assert (await rita.get("/reviews/answers", params={"words": "capital"})).json()["texts_left"] == 12_000
    assert (first["data"][0]["user"], rest["id"], rest["thumb"], rest["comment"]) == ("ada", turn.answer, "down", "no")
    for filters, number in (
        ({"thumb": "down"}, 1), ({"user": "ada"}, 1), ({"tag": "geo"}, 1), ({"words": "capital"}, 1),
        ({"is_reviewed": "true"}, 0), ({"since": "2026-03-02"}, 1), ({"until": "2026-03-01"}, 0),
        ({"min_cost": "1"}, 0),
    ):  # fmt: skip
        assert len((await rita.get("/reviews/answers", params=filters)).json()["data"]) == number, filters
    assert problem(await rita.get("/reviews/answers", params={"thumb": "sideways"})) == (422, "invalid")
    for field, reversed_ in (
        ("until", {"since": "2026-03-02", "until": "2026-03-01"}),
        ("max_cost", {"min_cost": "2", "max_cost": "1"}),
    ):
        refused = await rita.get("/reviews/answers", params=reversed_)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, f"query.{field}")
    assert await audited(layer) == [], "a list opens no thread"

    opened = (await rita.get(f"/reviews/threads/{turn.thread}", params={"purpose": "quality"})).json()
    assert [one["content"] for one in opened["messages"]] == ["what is the capital of France", "It is Lyon."]
    assert [(one["user"], one["value"], one["comment"]) for one in opened["votes"]] == [("uma", "down", "no")]
    assert await audited(layer) == [("read", "rita", "quality")]
    assert problem(await rita.get(f"/reviews/threads/{new_id()}")) == (404, "not-found")

    here = f"/reviews/answers/{turn.answer}/verdict"
    given = {"label": "wrong", "reasons": ["incorrect"], "note": "Lyon?", "better_answer": "It is Paris."}
    kept = (await rita.put(here, json=given)).json()
    assert (kept["reviewer"], kept["label"], kept["better_answer"]) == ("rita", "wrong", "It is Paris.")
    for field, value in (("label", "so-so"), ("reasons", ["boring"])):
        refused = await rita.put(here, json=given | {field: value})
        assert refused.json()["errors"][0]["field"] == f"body.{field}"
    assert problem(await rita.put(f"/reviews/answers/{new_id()}/verdict", json=given)) == (404, "not-found")

    pairs = await rita.get("/reviews/exports/pairs", params={"purpose": "training"})
    (pair,) = map(json.loads, pairs.text.splitlines())
    assert (pair["chosen"], pair["rejected"], pair["source"]) == ("It is Paris.", "It is Lyon.", "verdict")
    assert pairs.headers["content-disposition"].startswith('attachment; filename="pairs-')
    assert await audited(layer) == [("read", "rita", "quality"), ("export", "rita", "training")]
    table = await rita.get("/reviews/exports/conversations", params={"format": "csv", "user": "uma"})
    assert (table.headers["content-type"], len(table.text.splitlines())) == ("text/csv; charset=utf-8", 2)
    assert "x-threadkeeper-texts-left" not in table.headers
    assert problem(await rita.get("/reviews/exports/pairs", params={"user": "ada"})) == (404, "export-empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer.search_indexer, "all_left", AsyncMock(return_value=12_000))
        for words, status in (("capital", 200), ("nowhere", 404)):
            found = await rita.get("/reviews/exports/pairs", params={"words": words, "purpose": "training"})
            assert (found.status_code, found.headers["x-threadkeeper-texts-left"]) == (status, "12000")
    assert problem(await rita.get("/reviews/exports/everything")) == (422, "invalid")

    assert problem(await rita.post("/reviews/queue/next")) == (404, "queue-empty")
    with acting_as("rita"):
        await layer.fill_queue(percent=100)
    once = {"Idempotency-Key": "1"}
    taken = await rita.post("/reviews/queue/next", headers=once)
    assert (taken.json()["locked_by"], taken.json()["user"]) == ("rita", "ada")
    assert (await rita.post("/reviews/queue/next", headers=once)).headers["idempotency-replayed"] == "true"
    assert len((await rita.get("/reviews/queue")).json()["data"]) == 1
    assert (await rita.delete(here)).status_code == 204
    assert problem(await rita.delete(here)) == (404, "not-found")

    with acting_as("ada"):
        _, secret = await layer.create_api_key("later no admin", ["reviews", "admin"])
    await layer.add_account("root", "no real hash", "admin")
    await layer.set_role("ada", "user")
    for path in ("/reviews/answers", "/users"):
        assert problem(await rita.get(path, headers={"x-api-key": secret})) == (403, "scope-missing")


async def test_a_reviewer_copies_a_thread_and_links_a_better_answer(program_of: Program, layer: ChainlitLayer,
    people: dict[str, User]) -> None:  # fmt: skip
    turn = await talk(layer, "uma")
    rita = await program_of("reviewer", scopes=["reviews", "threads:read", "threads:write"])
    given = {"answer_id": turn.answer, "purpose": "to improve it"}
    copied = await rita.post(f"/reviews/threads/{turn.thread}/copy", json=given, headers={"Idempotency-Key": "1"})
    assert copied.status_code == 201, copied.text
    own = copied.json()["thread_id"]
    assert copied.headers["location"] == f"/api/v1/threads/{own}"
    assert (copied.json()["original_id"], copied.json()["original_answer_id"]) == (turn.thread, turn.answer)
    assert await audited(layer) == [("take_over", "rita", "to improve it")]
    better = (await rita.post(f"/threads/{own}/messages", json={"content": "And really?"})).json()["answer"]
    here = f"/reviews/copies/{own}/better-answer"
    assert (await rita.put(here, json={"answer_id": better["id"]})).status_code == 204
    with acting_as("rita"):
        found = await layer.open_thread_for_review(turn.thread)
    assert found is not None
    assert [one.better_step_id for one in found.copies] == [better["id"]]
    assert problem(await rita.put(here, json={"answer_id": new_id()})) == (404, "not-found")
    assert problem(await rita.put(here.replace(own, "x"), json={"answer_id": better["id"]})) == (404, "not-found")
    for method, path in (("PUT", here), ("POST", f"/reviews/threads/{turn.thread}/copy")):
        refused = await rita.request(method, path, json={"answer_id": "x"})
        assert (problem(refused), refused.json()["errors"][0]["field"]) == ((422, "invalid"), "body.answer_id")
    assert problem(await rita.post(f"/reviews/threads/{new_id()}/copy", json={})) == (404, "not-found")


async def test_the_queue_is_read_page_by_page(
    program_of: Program, layer: ChainlitLayer, people: dict[str, User]
) -> None:
    turns = [await talk(layer, "uma", f"question {number}", thumb=0) for number in range(4)]
    rita, ada = await program_of("reviewer", scopes=["reviews"]), await program_of("admin", scopes=["reviews"])
    await rita.post("/reviews/queue/fill", json={})
    taken = (await rita.post("/reviews/queue/next")).json()["answer_id"]
    for program in (rita, ada):
        first = (await program.get("/reviews/queue", params={"limit": 3})).json()
        rest = (await program.get("/reviews/queue", params={"cursor": first["next_cursor"]})).json()
        found = [one["answer_id"] for one in first["data"] + rest["data"]]
        assert (len(first["data"]), rest["next_cursor"]) == (3, None)
        assert sorted(found) == sorted(turn.answer for turn in turns)
        if program is rita:
            assert found[0] == taken
    assert problem(await rita.get("/reviews/queue", params={"cursor": "x"})) == (422, "invalid")


async def test_reviewers_save_views_of_the_inbox(program_of: Program, layer: ChainlitLayer,
    people: dict[str, User]) -> None:  # fmt: skip
    turn = await talk(layer, "uma", thumb=0)
    await talk(layer, "uma", "another", at="2026-03-02T10:00:00.000000Z")
    rita, ada = await program_of("reviewer", scopes=["reviews"]), await program_of("admin", scopes=["reviews"])
    view = {"name": "Bad", "query": "thumb=down", "is_shared": True}
    made = await rita.post("/reviews/views", json=view)
    assert made.status_code == 201, made.text
    assert {key: made.json()[key] for key in view} == view
    assert problem(await rita.post("/reviews/views", json=view)) == (409, "exists")
    wrong = await rita.post("/reviews/views", json={"name": "x", "query": "thumb=sideways"})
    assert wrong.json()["errors"][0]["field"] == "body.query"
    here = f"/reviews/views/{made.json()['id']}"
    assert [one["owner"] for one in (await ada.get("/reviews/views")).json()["data"]] == ["rita"]
    assert [one["id"] for one in (await ada.get(f"{here}/answers")).json()["data"]] == [turn.answer]
    assert problem(await ada.delete(here)) == (404, "not-found"), "only one's own"
    assert (await rita.delete(here)).status_code == 204
    assert problem(await rita.get(f"{here}/answers")) == (404, "not-found")


@pytest.mark.parametrize("review_policy", [ReviewPolicy(asks_purpose=True)])
async def test_a_purpose_is_required_where_the_server_asks_for_one(
    program_of: Program, layer: ChainlitLayer, people: dict[str, User]
) -> None:
    turn = await talk(layer, "uma")
    rita = await program_of("reviewer", scopes=["reviews"])
    (row,) = (await rita.get("/reviews/answers")).json()["data"]
    assert (row["question"], row["answer"], row["thread_name"]) == (None, None, None)
    for path in (f"/reviews/threads/{turn.thread}", "/reviews/exports/conversations"):
        refused = await rita.get(path)
        assert refused.json()["errors"][0]["field"] == "query.purpose"
    assert await audited(layer) == []
    assert (await rita.get(f"/reviews/threads/{turn.thread}", params={"purpose": "quality"})).status_code == 200


async def test_an_admin_adds_changes_and_deletes_users(
    program_of: Program, layer: ChainlitLayer, people: dict[str, User]
) -> None:
    ada = await program_of("admin", scopes=["admin"])
    new: dict[str, Any] = {"identifier": "grace", "password": PASSWORD, "role": "reviewer"}
    made = await ada.post("/users", json=new, headers={"Idempotency-Key": "1"})
    assert (made.status_code, made.json()["role"], made.json()["is_disabled"]) == (201, "reviewer", False), made.text
    assert PASSWORD not in made.text
    here = made.headers["location"].removeprefix("/api/v1")
    assert problem(await ada.post("/users", json=new)) == (409, "exists")
    for field, value in (("identifier", "a\nb"), ("password", "short"), ("role", "king")):
        refused = await ada.post("/users", json=new | {field: value})
        assert refused.json()["errors"][0]["field"] == f"body.{field}"
    first = (await ada.get("/users", params={"limit": 3})).json()
    rest = (await ada.get("/users", params={"cursor": first["next_cursor"]})).json()
    assert [one["identifier"] for one in first["data"] + rest["data"]] == ["ada", "grace", "rita", "uma"]

    old = {"If-Match": made.headers["etag"]}
    changed = await ada.patch(here, json={"role": "user", "is_disabled": True}, headers=old)
    assert (changed.json()["role"], changed.json()["is_disabled"]) == ("user", True)
    assert problem(await ada.patch(here, json={"role": "admin"}, headers=old)) == (412, "changed")
    before = (await layer.get_account("grace")).password_hash  # type: ignore[union-attr]
    assert (await ada.patch(here, json={"is_disabled": False, "password": PASSWORD * 2})).json()["is_disabled"] is False
    assert (await layer.get_account("grace")).password_hash != before  # type: ignore[union-attr]

    me = f"/users/{people['admin'].id}"
    assert problem(await ada.patch(me, json={"role": "user"})) == (409, "only-admin")
    assert problem(await ada.patch(me, json={"is_disabled": True})) == (409, "only-admin")
    assert problem(await ada.delete(me)) == (409, "only-admin")

    with acting_as("grace"):
        turn = await talk(layer, "grace")
    receipt = (await ada.delete(here)).json()
    assert (receipt["what"], receipt["owner"], receipt["deleted_by"]) == ("user", "grace", "ada")
    assert receipt["threads"] == [turn.thread]
    assert problem(await ada.get(here)) == (404, "not-found")
    assert problem(await ada.get("/users/no-id")) == (404, "not-found")


async def test_the_queue_is_filled_and_assigned_and_threads_are_marked(
    program_of: Program, layer: ChainlitLayer, people: dict[str, User]
) -> None:
    down, other = await talk(layer, "uma", thumb=0), await talk(layer, "ada", at="2026-03-02T10:00:00.000000Z")
    rita = await program_of("reviewer", scopes=["reviews"])
    assert (await rita.post("/reviews/queue/fill", json={})).json() == {"thumbs_down": 1, "sample": 0}
    assert (await rita.post("/reviews/queue/fill", json={"percent": 100})).json() == {"thumbs_down": 0, "sample": 1}
    address = f"/reviews/answers/{other.answer}/assignment"
    assert (await rita.put(address, json={"reviewer": "rita"})).status_code == 204
    assert problem(await rita.put(address, json={"reviewer": "uma"})) == (422, "invalid")
    unknown = await rita.put(f"/reviews/answers/{new_id()}/assignment", json={"reviewer": None})
    assert problem(unknown) == (404, "not-found")
    for method, act, body in (
        ("PUT", "verdict", {"label": "wrong"}),
        ("DELETE", "verdict", None),
        ("PUT", "assignment", {"reviewer": None}),
        ("PUT", "lock", None),
        ("DELETE", "lock", None),
    ):
        nothing = await rita.request(method, f"/reviews/answers/x/{act}", json=body)
        assert problem(nothing) == (404, "not-found"), (method, act)
    taken = (await rita.post("/reviews/queue/next")).json()
    assert (taken["answer_id"], taken["assigned_to"]) == (other.answer, "rita")
    lock = f"/reviews/answers/{other.answer}/lock"
    assert ((await rita.delete(lock)).status_code, problem(await rita.delete(lock))) == (204, (404, "not-found"))

    mark = f"/reviews/threads/{down.thread}/marks/flag"
    for method in ("PUT", "DELETE"):
        nothing = await rita.request(method, mark.replace(down.thread, "x"), json={})
        assert problem(nothing) == (404, "not-found"), method
    assert (await rita.put(mark, json={"note": "look"})).status_code == 204
    (flagged,) = (await rita.get("/reviews/answers", params={"is_flagged": True})).json()["data"]
    assert flagged["thread_id"] == down.thread
    assert ((await rita.delete(mark)).status_code, problem(await rita.delete(mark))) == (204, (404, "not-found"))
    assert problem(await rita.put(mark.replace("flag", "star"), json={})) == (422, "invalid")
