"""The quick answer to "is every setting valid": it agrees with the model of the settings, or says nothing."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from threadkeeper.settings.certain import CHECKS, certain_database_url
from threadkeeper.settings.settings import Settings, SettingsError, load_settings

USUAL = {
    **dict.fromkeys(("azure_storage_connection_string", "azure_storage_key", "azure_storage_sas"), "a=b;c"),
    **dict.fromkeys(("aws_region", "aws_access_key_id", "aws_secret_access_key", "aws_session_token"), "eu-west-1"),
    **dict.fromkeys(
        ("openai_title_model", "azure_openai_api_version", "system_prompt", "review_pseudonym_key"), "写 x"
    ),
    **dict.fromkeys(("openai_vision", "usage_footer", "usage_keep_payloads", "review_ask_reasons"), "true"),
    **dict.fromkeys(("gateway_max_megabytes", "gateway_timeout_seconds"), "50"),
    **dict.fromkeys(("sample_assistant", "telemetry", "telemetry_texts"), "off"),
    **dict.fromkeys(("review_ask_purpose", "review_tell_users", "log_json"), "No"),
    **dict.fromkeys(("openai_base_url", "azure_openai_endpoint", "s3_endpoint_url"), "http://localhost:9000/v1"),
    **dict.fromkeys(("openai_api_key", "azure_openai_api_key", "metrics_token"), "sk-1234"),
    **dict.fromkeys(("openai_context_tokens", "max_tokens", "usage_payload_days", "attachment_max_files"), "90000"),
    **dict.fromkeys(("attachment_max_megabytes", "attachment_max_total_megabytes"), "1"),
    **dict.fromkeys(("attachment_max_characters", "attachment_max_pdf_pages"), "1000"),
    **dict.fromkeys(("retention_threads_days", "retention_files_days", "retention_audit_days"), "36500"),
    **dict.fromkeys(("retention_every_hours", "review_lock_minutes", "openai_timeout_seconds"), "0.5"),
    **dict.fromkeys(("knowledge_embedding_dimensions", "knowledge_max_megabytes", "knowledge_max_pages"), "512"),
    **dict.fromkeys(("knowledge_max_rows", "knowledge_load_seconds", "knowledge_keep_trainings"), "9"),
    **dict.fromkeys(("knowledge_fetch_seconds", "knowledge_fetch_pages"), "9"),
    "knowledge_url_hosts": "docs.example.com, http://wiki.corp.example:8080=10.1.0.0/16",
    "api_webhook_hosts": "hooks.example.com",
    "knowledge_chunk_tokens": "512",
    "knowledge_chunk_overlap": "0",
    "knowledge_embedding_model": "text-embedding-3-small",
    "knowledge_embedding_base_url": "http://localhost:9000/v1",
    "knowledge_embedding_api_key": "sk-1234",
    "azure_storage_endpoint": "https://lab.dfs.core.windows.net",
    "host": "0.0.0.0",
    "port": "65535",
    "database_connections": "50",
    "data_dir": "~/data",
    "database_url": "postgresql://me:secret@db:5432/chat?sslmode=require",
    "database_read_url": "postgresql://me:secret@standby:5432/chat",
    "blob_url": "s3://bucket",
    "files_redirect_seconds": "86400",
    "openai_models": "gpt-4o-mini, gpt-4.1",
    "openai_max_retries": "0",
    "temperature": "0",
    "review_sample_percent": "12.5",
    "usage_time_zone": "Europe/Berlin",
    "review_labels": "good,bad",
    "review_reasons": "slow",
    "assistant_owners": "travel=alice",
    "auth_header": "X-Forwarded-User",
    "chainlit_root_path": "/chat/",
    "chainlit_url": "https://chat.example.com",
    "chainlit_auth_secret": "a" * 32,
    "chainlit_cookie_samesite": "none",
    "log_level": "WARNING",
}


@pytest.fixture(autouse=True)
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def edges(name: str) -> list[str]:
    """Texts at the limits of a setting, and odd ways to write numbers and flags."""
    limits = [
        limit
        for rule in Settings.model_fields[name].metadata
        for limit in (getattr(rule, kind, None) for kind in ("ge", "gt", "le"))
        if limit is not None
    ]
    near = [f"{limit + change:g}" for limit in limits for change in (-1, -0.001, 0, 0.001, 1)]
    odd = ["007", "+5", "-1", "1_0", "1e3", "1.", ".5", "nan", "inf", "٣", "t", "off", "debug", "LAX", "x y", "a\tb"]
    return near + odd


def accept_what_is_certain(texts: dict[str, str]) -> None:
    """Let the model validate the texts that are certain to be valid, in one call, because a call takes milliseconds."""
    certain = {name: text.strip() for name, text in texts.items() if text.strip() and CHECKS[name](text.strip())}
    given = {"azure_openai_api_key": "key", **certain}
    if "database_read_url" in certain:
        given["database_url"] = "postgresql://db/chat"
    Settings(**given)  # type: ignore[arg-type]


def test_every_setting_has_a_check() -> None:
    assert CHECKS.keys() == Settings.model_fields.keys()


_URLS = st.builds("{}://{}".format, st.sampled_from(["http", "sqlite", "postgresql", "s3", "azure"]), st.text())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(min_size=1) | _URLS | st.floats().map(str) | st.integers().map(str))
@example("a,b=c,d")
@example(",")
def test_certain_settings_are_valid(text: str) -> None:
    accept_what_is_certain(dict.fromkeys(CHECKS, text))


def test_what_is_certain_at_the_limits_is_valid() -> None:
    texts = {name: edges(name) for name in CHECKS}
    for number in range(max(map(len, texts.values()))):
        accept_what_is_certain({name: some[number % len(some)] for name, some in texts.items()})


@pytest.mark.parametrize("name", sorted(CHECKS.keys() - {"attachment_kinds"}))
def test_a_usual_value_is_certain(name: str) -> None:
    assert CHECKS[name](USUAL[name])


def test_a_read_replica_of_no_postgres_is_not_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_READ_URL", "postgresql://standby/chat")
    assert certain_database_url() is None
    with pytest.raises(SettingsError, match="DATABASE_READ_URL needs a DATABASE_URL that starts with postgresql://"):
        load_settings()


def test_a_read_replica_is_one_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/chat")
    monkeypatch.setenv("DATABASE_READ_URL", "postgresql://one,two/chat")
    assert certain_database_url() is None
    with pytest.raises(SettingsError, match="DATABASE_READ_URL must name one server"):
        load_settings()


def test_the_url_is_that_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in USUAL.items():
        monkeypatch.setenv(name.upper(), text)
    assert certain_database_url() == load_settings().resolved_database_url == USUAL["database_url"]


@pytest.mark.parametrize(
    ("environment", "file"),
    [
        ({}, None),
        ({}, ""),
        ({"DATA_DIR": "~/x y"}, None),
        ({"DATA_DIR": " "}, "DATA_DIR=/srv/data\nOTHER=1\nNOTHING\n"),
        ({"DATABASE_URL": "sqlite:////a.db"}, "DATABASE_URL=mysql://ignored\n"),
        ({"data_dir": "/lower"}, "export HOST='1.2.3.4' # said twice\nHOST=5.6.7.8\n"),
        ({"WHERE": "/there"}, "DATA_DIR=${WHERE}/data\n"),
        ({"AZURE_OPENAI_ENDPOINT": "https://a.example"}, "AZURE_OPENAI_API_KEY=key\n"),
        ({"DATABASE_READ_URL": "postgresql://standby/chat", "DATABASE_URL": "postgresql://db/chat"}, None),
        ({"SYSTEM_PROMPT": "\udcff"}, "PORT=8080"),
    ],
)
def test_the_sources_are_those_of_the_settings(
    environment: dict[str, str], file: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    if file is not None:
        Path(".env").write_text(file, encoding="utf-8")
    assert certain_database_url() == load_settings().resolved_database_url


@pytest.mark.parametrize(
    ("environment", "file"),
    [
        ({"DATABASE_URL": "mysql://me@db/x"}, None),
        ({"PORT": "many"}, None),
        ({}, "TEMPERATURE=9"),
        ({"AZURE_OPENAI_ENDPOINT": "https://a.example"}, None),
        ({"DATA_DIR": "~nobody-of-this-name/x"}, None),
        ({}, b"HOST=\xff"),
        ({}, Path),
    ],
)
def test_an_error_is_left_to_the_settings(
    environment: dict[str, str], file: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    if isinstance(file, str | bytes):
        Path(".env").write_bytes(file.encode() if isinstance(file, str) else file)
        with pytest.raises(SettingsError):
            load_settings()
    elif file is Path:
        Path(".env").mkdir()
    else:
        with pytest.raises(SettingsError):
            load_settings()
    assert certain_database_url() is None


@pytest.mark.skipif(os.name == "nt", reason="Windows has no small letters in names of variables")
def test_a_name_that_is_set_twice_is_left_to_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "a.example")
    monkeypatch.setenv("host", " ")
    assert certain_database_url() is None
