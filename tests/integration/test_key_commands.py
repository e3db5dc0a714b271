"""`threadkeeper keys`, and limits of keys, as an operator runs them."""

from pathlib import Path

import pytest

from datalayer import Project
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.command_line import CommandLine
from tests.support.records import new_id, user_id

pytestmark = pytest.mark.slow


async def test_keys_are_made_listed_limited_and_revoked(
    layer: ChainlitLayer, database_url: str, tmp_path: Path
) -> None:
    run, database = CommandLine(tmp_path), {"DATABASE_URL": database_url}
    await user_id(layer, "alice")
    await layer.put_project(Project(new_id(), "Research", "research"))
    options = ("--project", "research", "--model", "small", "--model", "large", "--requests-per-minute", "60")
    scopes = ("--scope", "gateway", "--scope", "threads:read")
    done = run("keys", "create", "Laptop", "--user", "Alice", *scopes, *options, "--expires", "2200-01-01", **database)
    assert done.returncode == 0, done.stderr
    secret = done.stdout.strip()
    assert done.stderr == f"Made the key {secret[:10]}… of alice. Store it now: it cannot be shown again.\n"
    key = await layer.find_api_key(secret)
    assert key is not None
    assert (key.project, key.models, key.requests_per_minute) == ("research", ("small", "large"), 60)

    listed = run("keys", "list", "--user", "alice", **database).stdout
    assert secret not in listed
    assert listed.splitlines()[1].split("\t") == [
        key.id, f"{secret[:10]}…", "alice", "Laptop", "threads:read gateway", "research", "small large", "60", "",
        key.created_at[:19] + "Z", "", "2200-01-01T00:00:00Z", "",
    ]  # fmt: skip

    limited = run("limits", "set", "10", "dollars", "month", "--key", secret[:10], **database)
    assert f"The key {secret[:10]} can use 10 dollars per month." in limited.stdout, limited.stderr
    assert run("limits", "list", **database).stdout.splitlines()[1].split("\t")[1:] == [
        f"key {secret[:10]}…", "10", "dollars", "month", "0",
    ]  # fmt: skip
    both = run("limits", "set", "10", "dollars", "month", "--key", secret[:10], "--user", "alice", **database)
    assert (both.returncode, both.stderr.count("\n")) == (1, 1)

    revoked = run("keys", "revoke", f"{secret[:10]}…", **database)
    assert (revoked.returncode, revoked.stdout) == (0, f"Revoked the key {secret[:10]}… of alice.\n")
    assert await layer.find_api_key(secret) is None
    for wrong in (
        ("revoke", secret),
        ("create", "x", "--user", "nobody", "--scope", "gateway"),
        ("create", "x", "--user", "alice", "--scope", "everything"),
        ("create", "x", "--user", "alice", "--scope", "gateway", "--expires", "2001-01-01"),
    ):
        done = run("keys", *wrong, **database)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
        assert secret not in done.stderr
