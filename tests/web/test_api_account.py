"""The API for what is one's own: takeouts, logins, looks, deletion; and for projects that their owners delete."""

import io
import zipfile
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from datalayer import Project, User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in, utc_now
from datalayer.records.chat import Login
from tests.support.job_process import TIMES
from tests.support.patience import until
from tests.support.records import new_id
from tests.support.reviewing import talk
from tests.web.conftest import Program, problem

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
async def jobs(layer: ChainlitLayer, whole_app: FastAPI) -> AsyncIterator[None]:
    """The server runs jobs."""
    layer.run_jobs(TIMES)
    yield
    await layer.stop_jobs()


@pytest.mark.usefixtures("jobs")
async def test_everything_is_exported_in_the_background(program_of: Program, layer: ChainlitLayer) -> None:
    await talk(layer, "uma", "What I said")
    program, other = await program_of(scopes=["account"]), await program_of("admin", scopes=["account"])
    once = {"Idempotency-Key": "1"}
    started = await program.post("/me/takeouts", headers=once)
    assert started.status_code == 202, started.text
    here = f"/me/takeouts/{started.json()['id']}"
    assert started.headers["location"] == f"/api/v1{here}"
    assert (await program.post("/me/takeouts", headers=once)).headers["idempotency-replayed"] == "true"
    assert problem(await other.get(here)) == (404, "not-found")

    async def done() -> bool:
        return bool((await program.get(here)).json()["state"] == "done")

    await until(done)
    file = await program.get(f"{here}/content")
    assert file.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(file.content)) as archive:
        assert any(b"What I said" in archive.read(name) for name in archive.namelist())
    (listed,) = (await program.get("/me/takeouts")).json()["data"]
    assert (listed["threads"], listed["bytes"], listed["error"]) == (1, len(file.content), None)
    assert problem(await other.get(f"{here}/content")) == (404, "not-found")


async def test_an_export_is_cancelled(program_of: Program) -> None:
    program = await program_of(scopes=["account"])
    here = f"/me/takeouts/{(await program.post('/me/takeouts')).json()['id']}"
    assert problem(await program.get(f"{here}/content")) == (404, "not-found")
    assert (await program.post(f"{here}/cancel")).json()["state"] == "cancelled"


async def test_logins_are_listed_and_ended(program_of: Program, layer: ChainlitLayer, people: dict[str, User]) -> None:
    program, other = await program_of(scopes=["account"]), await program_of("admin", scopes=["account"])
    for token in ("one", "two", "three"):
        await layer.see_login(people["user"].id, Login(token, utc_now(), utc_in(60), "Firefox"))
    found = (await program.get("/me/logins", params={"limit": 2})).json()
    assert ([one["agent"] for one in found["data"]], found["next_cursor"]) == (["Firefox"] * 2, found["data"][1]["id"])
    here = f"/me/logins/{found['data'][0]['id']}"
    assert problem(await other.delete(here)) == (404, "not-found")
    assert (await program.delete(here)).status_code == 204
    assert len((await program.get("/me/logins")).json()["data"]) == 2
    assert (await program.delete("/me/logins")).status_code == 204
    assert (await program.get("/me/logins")).json()["data"] == []
    assert (await program.get("/me")).json() == {"id": people["user"].id, "identifier": "uma", "role": "user"}


async def test_a_user_deletes_everything_with_a_receipt(program_of: Program, layer: ChainlitLayer) -> None:
    turn = await talk(layer, "uma")
    with acting_as("rita"):
        await layer.open_thread_for_review(turn.thread, purpose="quality")
    program, writes = await program_of(scopes=["account"]), await program_of(scopes=["threads:write"])
    (look,) = (await program.get("/me/looks")).json()["data"]
    assert (look["action"], look["actor"], look["purpose"], look["thread_ids"]) == (
        "read",
        "rita",
        "quality",
        [turn.thread],
    )
    assert problem(await writes.delete("/me", params={"confirm": "uma"})) == (403, "scope-missing")
    for wrong in ({}, {"confirm": "ada"}):
        assert problem(await program.delete("/me", params=wrong)) == (422, "invalid")
    with acting_as("uma"):
        assert await layer.get_thread(turn.thread) is not None
    receipt = (await program.delete("/me", params={"confirm": "uma"})).json()
    assert (receipt["owner"], receipt["deleted_by"], receipt["threads"]) == ("uma", "uma", [turn.thread])
    assert await layer.get_account("uma") is None
    assert problem(await program.get("/me")) == (401, "key-invalid")


async def test_the_owner_of_a_project_and_admins_delete_it(program_of: Program, layer: ChainlitLayer) -> None:
    for slug in ("mine", "too"):
        await layer.put_project(Project(new_id(), slug, slug, owner="uma"))
    uma, rita = await program_of(scopes=["account"]), await program_of("reviewer", scopes=["account"])
    assert problem(await rita.delete("/projects/mine")) == (404, "not-found")
    deleted = await uma.delete("/projects/mine")
    assert (deleted.status_code, deleted.json()["slug"]) == (200, "mine"), deleted.text
    await layer.default_project()
    assert problem(await uma.delete("/projects/default")) == (422, "invalid")
    ada = await program_of("admin", scopes=["admin"])
    assert (await ada.delete("/projects/too", headers={"If-Match": '"old"'})).status_code == 412
    assert (await ada.delete("/projects/too")).status_code == 200
