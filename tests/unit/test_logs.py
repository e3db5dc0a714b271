"""Log lines: their format, masked secrets, and filtered lines."""

import json
import logging
from collections.abc import Iterator

import pytest

from threadkeeper.logs import configure_logging

SECRETS = ["sk-a-very-long-key", 'quo"ted\\secret', "p%40ss/word", "short"]


@pytest.fixture(autouse=True)
def untouched_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("httpx", "openai", "chainlit")}
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def test_a_json_line_has_time_level_logger_message_and_extras(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", json=True)
    logging.getLogger("threadkeeper.turn").warning("answer cut at %d", 7, extra={"thread_id": "t1", "step_id": "s1"})
    line = json.loads(capsys.readouterr().err)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "WARNING",
        "logger": "threadkeeper.turn",
        "message": "answer cut at 7",
        "thread_id": "t1",
        "step_id": "s1",
    }


def test_a_plain_line_contains_its_extras(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", json=False)
    logging.getLogger("threadkeeper").error("not stored", extra={"thread_id": "t1"})
    assert capsys.readouterr().err.endswith("Z ERROR   threadkeeper: not stored thread_id=t1\n")


def test_a_traceback_is_one_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", json=True)
    try:
        raise ValueError("boom")
    except ValueError:
        logging.getLogger("threadkeeper").exception("it failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: boom" in json.loads(line)["error"]


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_masked(secret: str, as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("DEBUG", json=as_json, secrets=SECRETS)
    try:
        raise ValueError(f"refused key {secret}")
    except ValueError:
        logging.getLogger("x").exception("sent Bearer %s", secret, extra={"headers": {"Authorization": secret}})
    written = capsys.readouterr().err
    assert secret not in written
    assert json.dumps(secret)[1:-1] not in written
    assert "********" in written
    if as_json:
        assert "********" in json.loads(written)["message"]


def test_a_short_secret_does_not_mask_parts_of_words(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", json=False, secrets=["host"])
    logging.getLogger("x").info("hosts at postgresql://me:host@localhost")
    assert capsys.readouterr().err.endswith("hosts at postgresql://me:********@localhost\n")


def test_a_second_call_replaces_the_first_and_basic_config(capsys: pytest.CaptureFixture[str]) -> None:
    logging.basicConfig(force=False)
    logging.getLogger().addHandler(logging.StreamHandler())
    configure_logging("INFO", json=False)
    configure_logging("INFO", json=True)
    logging.getLogger("x").info("once")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "once"


def test_lines_without_information_are_filtered(capsys: pytest.CaptureFixture[str]) -> None:
    def noise() -> str:
        logging.getLogger("httpx").info("HTTP Request: POST https://example.org")
        logging.getLogger("chainlit").warning("Translation file for fr-FR not found. Using default translation en-US.")
        logging.getLogger("chainlit").warning("something else")
        return capsys.readouterr().err

    configure_logging("INFO", json=False)
    quiet = noise()
    assert "something else" in quiet
    assert len(quiet.splitlines()) == 1
    configure_logging("DEBUG", json=False)
    assert len(noise().splitlines()) == 3


def test_signatures_for_a_store_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("DEBUG", json=False)
    logging.getLogger("botocore.auth").debug("Signature:\n%s", "0f" * 32)
    logging.getLogger("botocore.auth").info("something else")
    logged = capsys.readouterr().err
    assert "0f0f" not in logged
    assert "something else" in logged
