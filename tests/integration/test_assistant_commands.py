"""`threadkeeper assistants`, as an operator runs it, and the YAML file of an assistant."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalayer import Assistant, AssistantAccess, AssistantPicture, AssistantSettings
from datalayer.assistants.checking import Problems, check_settings
from datalayer.chainlit_layer import ChainlitLayer
from tests.contracts.test_assistants import PNG, SETTINGS
from tests.support.command_line import CommandLine
from tests.support.knowledge import source
from tests.support.records import user_id
from threadkeeper.commands.assistant_files import InvalidFile, as_yaml, read_yaml

WHOLE = AssistantSettings(
    "Handbook 手册",
    description="Answers from the handbook",
    type="qa",
    mode="advanced",
    prologue="Hello.\nAsk me about the handbook.",
    prompt="Passages:\n{context}\n\nQuestion: {question}",
    model="gpt-4o",
    temperature=0.2,
    max_tokens=500,
    logit_bias={"50256": -100.0},
    stop=("\n\n", "END"),
    idk="I do not know.",
    score_threshold=0.3,
    opening_prompts=("Where are the keys?",),
    tips=("And on Sunday?",),
)


@pytest.fixture
def run(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


@pytest.fixture
def database(database_url: str) -> dict[str, str]:
    return {"DATABASE_URL": database_url}


@pytest.mark.slow
async def test_an_assistant_lives_in_a_file(
    run: CommandLine, database: dict[str, str], layer: ChainlitLayer, tmp_path: Path
) -> None:
    for name in ("alice", "bob"):
        await user_id(layer, name)
    access = AssistantAccess("users", users=("bob",))
    made = await layer.create_assistant(WHOLE, access=access, owner="alice", picture=PNG)
    assert run("assistants", "list", **database).stdout.splitlines()[1].split("\t")[:6] == [
        *("handbook-手册", "Handbook 手册", "qa", "1", "users", "alice"),
    ]
    done = run("assistants", "export", made.slug, "--to", "handbook.yaml", **database)
    assert (done.returncode, done.stderr) == (0, "")
    file = tmp_path / "handbook.yaml"
    text = file.read_text("utf-8")
    assert "  Ask me about the handbook.\n" in text, "texts of several lines are readable"
    assert run("assistants", "export", made.slug, **database).stdout == text
    assert "is the same already: version 1" in run("assistants", "import", "handbook.yaml", **database).stdout
    await layer.put_source(source(made.slug), b"text")
    done = run("assistants", "export", made.slug, **database)
    assert (done.stdout, "Its data sources (1) are not in the file." in done.stderr) == (text, True)
    file.write_text(text.replace("temperature: 0.2", "temperature: 0.9"), "utf-8")
    assert "Stored version 2" in run("assistants", "import", "handbook.yaml", **database).stdout
    saved = await layer.get_assistant(made.slug)
    assert saved.settings == dataclasses.replace(WHOLE, temperature=0.9)
    assert (saved.owner, saved.access, saved.picture) == ("alice", access, made.picture)
    new = text.replace("slug: handbook-手册", "slug: other").replace("owner: alice\n", "")
    done = run("assistants", "import", "-", "--owner", "bob", given=new, **database)
    assert done.stdout == "Stored version 1 of the assistant other.\n"
    other = await layer.get_assistant("other")
    assert (other.owner, other.settings, other.picture) == ("bob", WHOLE, made.picture)


@pytest.mark.slow
def test_a_file_that_is_not_valid_stores_nothing_and_names_each_field(
    run: CommandLine, database: dict[str, str], tmp_path: Path
) -> None:
    begin = "format: threadkeeper-assistant\nversion: 1\n"
    for content, words in (
        ("a: [", "not YAML"),
        ("name: x", "does not begin with"),
        (begin, "lacks the field name"),
        (begin + "name: x\ntemprature: 1", "unknown field 'temprature'"),
        (begin + "name: x\naccess: all", "its access must be"),
        (begin + "name: x\nprompt: '{contxt}'\ntemperature: hot", "unknown placeholder {contxt}"),
        (begin + "name: x\nprompt: '{contxt}'\ntemperature: hot", "temperature must be a number from 0 to 2"),
        (begin + "name: x\nowner: nobody", "unknown user nobody"),
        (begin + "name: 7", "name must be text"),
        (begin + "name: x\nstop: END", "stop must be a list"),
    ):
        (tmp_path / "wrong.yaml").write_text(content)
        done = run("assistants", "import", "wrong.yaml", **database)
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr
    assert run("assistants", "import", "missing.yaml", **database).stderr.startswith("Cannot read missing.yaml")
    assert run("assistants", "export", "missing", **database).returncode == 1
    assert run("assistants", "list", **database).stdout.count("\n") == 1


NAMES = st.lists(st.sampled_from(["alice", "bob"]), unique=True)


@given(given_settings=SETTINGS, users=NAMES, has_picture=st.booleans())
@settings(deadline=None)
def test_a_file_has_everything_of_an_assistant(
    given_settings: AssistantSettings, users: list[str], has_picture: bool
) -> None:
    problems = Problems()
    cleaned = check_settings(given_settings, problems)
    problems.demand_none()
    access = AssistantAccess("users", users=tuple(users))
    assistant = Assistant("an id", "a-slug", 1, 1, cleaned, access, owner="alice")
    read = read_yaml(as_yaml(assistant, AssistantPicture("image/png", PNG) if has_picture else None))
    assert check_settings(read.settings, problems) == cleaned
    problems.demand_none()
    assert (read.slug, read.access, read.owner) == ("a-slug", access, "alice")
    assert read.picture == (PNG if has_picture else None)


@pytest.mark.parametrize(
    "text",
    ["!!python/object/apply:os.system ['true']", "&a [*a]", "x" * 1_000_001, "- 1\n- 2"],
    ids=["code", "circle", "large", "list"],
)
def test_other_yaml_is_refused(text: str) -> None:
    with pytest.raises(InvalidFile):
        read_yaml(text)
