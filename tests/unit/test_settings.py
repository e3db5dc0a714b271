"""Settings: their sources, error messages for invalid values, and the secret of the login cookies."""

import multiprocessing
import multiprocessing.synchronize
import re
import stat
from importlib.metadata import files
from pathlib import Path

import pytest

from threadkeeper.knowledge.fetching.hosts import FetchHeader
from threadkeeper.settings.cookie_secret import cookie_secret
from threadkeeper.settings.fetch_headers import fetch_headers, header_secrets
from threadkeeper.settings.misspelled import misspelled_names
from threadkeeper.settings.report import inspect_settings
from threadkeeper.settings.settings import Settings, SettingsError, load_settings
from threadkeeper.settings.urls import MASK, mask_url, secrets_in_url


@pytest.fixture(autouse=True)
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_defaults_need_no_account(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.demo
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.resolved_database_url == f"sqlite:///{tmp_path}/.data/threadkeeper.db"
    assert settings.resolved_blob_url == f"file://{tmp_path}/.data/files"
    assert settings.title_model == settings.openai_models[0]


@pytest.mark.parametrize(
    ("value", "prompt"), [("", "default"), ("Be brief.", "Be brief."), ("none", ""), (" NONE ", "")]
)
def test_the_system_prompt_can_be_empty(value: str, prompt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEM_PROMPT", value)
    assert load_settings().resolved_system_prompt("default") == prompt


def test_the_environment_overrides_the_file_and_blank_values_count_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text(
        "PORT=9001\nLOG_LEVEL=debug\nHOST=  \nSOMETHING_ELSE=1\nOPENAI_API_KEY=\n", encoding="utf-8"
    )
    monkeypatch.setenv("PORT", "9002")
    monkeypatch.setenv("LOG_LEVEL", "")
    monkeypatch.setenv("TEMPERATURE", "   ")
    settings = load_settings()
    assert (settings.port, settings.log_level, settings.host) == (9002, "DEBUG", "127.0.0.1")
    assert settings.temperature == 1.0
    assert settings.demo
    reports, _ = inspect_settings()
    origins = {report.variable: report.origin for report in reports}
    assert origins["PORT"] == "environment"
    assert origins["LOG_LEVEL"] == ".env file"
    assert origins["HOST"] == origins["TEMPERATURE"] == "default"
    # As in a server: Chainlit puts the file into the environment, and the server its own secret.
    monkeypatch.setenv("LOG_LEVEL", "debug")
    monkeypatch.setenv("CHAINLIT_AUTH_SECRET", cookie_secret(settings))
    reports, _ = inspect_settings()
    origins = {report.variable: report.origin for report in reports}
    assert (origins["LOG_LEVEL"], origins["PORT"]) == (".env file", "environment")
    assert origins["CHAINLIT_AUTH_SECRET"] == "default"
    monkeypatch.setenv("CHAINLIT_AUTH_SECRET", "another")
    assert {one.variable: one.origin for one in inspect_settings()[0]}["CHAINLIT_AUTH_SECRET"] == "environment"


@pytest.mark.parametrize("variable", ["OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT"])
def test_a_configured_model_server_replaces_the_demo(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "key")
    monkeypatch.setenv(variable, "sk-1234" if variable.endswith("KEY") else "http://localhost:1234/v1")
    assert not load_settings().demo


def test_models_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_MODELS", " first , second,,first ")
    assert load_settings().openai_models == ("first", "second")


def test_settings_are_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().port = 1


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("PORT", "eight", "PORT must be a whole number."),
        ("PORT", "0", "PORT must be at least 1."),
        ("PORT", "65536", "PORT must be at most 65535."),
        ("DATABASE_URL", "mysql://root:hunter2@db/x", "DATABASE_URL must start with sqlite:/// or postgresql://."),
        (
            "DATABASE_URL",
            "dynamodb://table?region=eu-central-1",
            "DATABASE_URL cannot be dynamodb:// here: accounts, usage, review, assistants and jobs need a SQL "
            "database; an application of your own can use datalayer with DynamoDB (docs/dynamodb.md).",
        ),
        ("DATABASE_URL", "sqlite://", "DATABASE_URL must contain a file path, as in sqlite:///path/to/file.db."),
        (
            "DATABASE_URL",
            "sqlite:///:memory:",
            "DATABASE_URL must contain a file path, as in sqlite:///path/to/file.db.",
        ),
        (
            "DATABASE_URL",
            "postgresql://me:hunter2:x@db:port/x",
            "DATABASE_URL has a port that is not a number from 1 to 65535: "
            "special characters in a user name or password must be percent-encoded.",
        ),
        (
            "BLOB_URL",
            "azure://account/",
            "BLOB_URL must contain an account and a container, as in azure://account/container.",
        ),
        (
            "BLOB_URL",
            "https://account.blob.core.windows.net/x?sig=hunter2",
            "BLOB_URL must start with file:///, azure://, azure-blob:// or s3://.",
        ),
        ("BLOB_URL", "/var/files", "BLOB_URL must start with file:///, azure://, azure-blob:// or s3://."),
        ("BLOB_URL", "s3://", "BLOB_URL must contain a bucket, as in s3://bucket."),
        (
            "BLOB_URL",
            "s3://[bucket",
            "BLOB_URL is not a valid URL (special characters in a password must be percent-encoded).",
        ),
        ("S3_ENDPOINT_URL", "localhost:9000", "S3_ENDPOINT_URL must start with http:// or https://."),
        ("BLOB_URL", "file:///", "BLOB_URL must contain a folder, as in file:///path/to/folder."),
        ("OPENAI_BASE_URL", "localhost:1234/v1", "OPENAI_BASE_URL must start with http:// or https://."),
        ("OPENAI_BASE_URL", "http://", "OPENAI_BASE_URL must contain a host."),
        (
            "OPENAI_BASE_URL",
            "http://127.0.0.1:1234/v1/chat/completions/",
            "OPENAI_BASE_URL must end before /chat/completions, as in http://127.0.0.1:1234/v1.",
        ),
        ("OPENAI_BASE_URL", "http://127.0.0.1: 1234/v1", "OPENAI_BASE_URL contains a blank."),
        ("OPENAI_BASE_URL", '"http://x/v1"', "OPENAI_BASE_URL is in quotation marks; remove them."),
        ("OPENAI_API_KEY", "'sk-hunter2'", "OPENAI_API_KEY is in quotation marks; remove them."),
        ("OPENAI_MODELS", 'small,"large"', "OPENAI_MODELS is in quotation marks; remove them."),
        ("ATTACHMENT_KINDS", "pdf,film", "ATTACHMENT_KINDS must be one of 'picture', 'pdf', 'text' or 'document'."),
        ("FILES_REDIRECT_SECONDS", "0", "FILES_REDIRECT_SECONDS must be at least 1."),
        ("OPENAI_MODELS", ", ,", "OPENAI_MODELS must contain at least one name."),
        ("OPENAI_API_KEY", "sk-hunter2 x", "OPENAI_API_KEY contains a space or a character that is not plain ASCII."),
        ("OPENAI_TIMEOUT_SECONDS", "0", "OPENAI_TIMEOUT_SECONDS must be greater than 0."),
        ("OPENAI_VISION", "perhaps", "OPENAI_VISION must be true or false."),
        (
            "AZURE_OPENAI_ENDPOINT",
            "https://x.y",
            "AZURE_OPENAI_API_KEY must be set because AZURE_OPENAI_ENDPOINT is set.",
        ),
        ("TEMPERATURE", "2.1", "TEMPERATURE must be at most 2."),
        ("TEMPERATURE", "nan", "TEMPERATURE must be a number."),
        ("MAX_TOKENS", "-5", "MAX_TOKENS must be at least 1."),
        ("ATTACHMENT_MAX_FILES", "0", "ATTACHMENT_MAX_FILES must be at least 1."),
        ("AUTH_HEADER", "X Forwarded User", "AUTH_HEADER must be the name of a header, as in X-Forwarded-User."),
        ("CHAINLIT_AUTH_SECRET", "hunter2", "CHAINLIT_AUTH_SECRET must have at least 32 characters."),
        (
            "LOG_LEVEL",
            "loud",
            "LOG_LEVEL must be one of 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'.",
        ),
    ],
)
def test_an_invalid_value_is_reported_in_one_sentence_without_secrets(
    variable: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == sentence
    assert "hunter2" not in sentence


def test_all_invalid_values_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "eight")
    monkeypatch.setenv("DATABASE_URL", "mysql://root:hunter2@db/x")
    monkeypatch.setenv("TEMPERATURE", "9")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == (
        "PORT must be a whole number. DATABASE_URL must start with sqlite:/// or postgresql://. "
        "TEMPERATURE must be at most 2."
    )


def test_a_misspelled_name_is_reported_with_the_most_similar_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text(
        "OPENAI_MODEL=x\nDATABSE_URL=hunter2\nopenai_key=hunter2\nPORT=9001\n"
        "POSTGRES_PASSWORD=hunter2\nTZ=UTC\nTHREADKEEPER_TEMPRATURE=1\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("THREADKEEPER_PORT", "9002")
    monkeypatch.setenv("THREADKEEPER_QUUX", "hunter2")
    # Variables of other programs in the environment are ignored.
    monkeypatch.setenv("OPENAI_MODELZ", "x")
    assert misspelled_names() == [
        "Unknown setting DATABSE_URL. Did you mean DATABASE_URL?",
        "Unknown setting OPENAI_KEY. Did you mean OPENAI_API_KEY?",
        "Unknown setting OPENAI_MODEL. Did you mean OPENAI_MODELS?",
        "Unknown setting THREADKEEPER_PORT. Did you mean PORT?",
        "Unknown setting THREADKEEPER_QUUX.",
        "Unknown setting THREADKEEPER_TEMPRATURE. Did you mean TEMPERATURE?",
    ]
    assert load_settings().port == 9001


def test_variables_of_chainlit_are_not_reported_as_misspelled() -> None:
    """All variables in Chainlit's source, including those of its login providers."""
    # Each of the processes below imports this file, so it does not import Chainlit, which takes two seconds.
    modules = [Path(str(one.locate())) for one in files("chainlit") or () if one.suffix == ".py"]
    source = "\n".join(path.read_text(encoding="utf-8") for path in modules)
    names = set(re.findall(r"environ(?:\.get)?[\[(]\s*\"([A-Z][A-Z0-9_]+)\"", source))
    assert {"CHAINLIT_URL", "OAUTH_GITHUB_CLIENT_ID"} < names
    Path(".env").write_text("".join(f"{name}=x\n" for name in sorted(names)), encoding="utf-8")
    assert misspelled_names() == []


def test_every_problem_is_reported_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "x")
    monkeypatch.setenv("TEMPERATURE", "9")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hunter2")
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2@db/name?password=hunter2&sslmode=require")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:hunter2@bad:port/")
    reports, settings = inspect_settings()
    shown = {report.variable: report for report in reports}
    assert settings.port == 8000
    assert settings.database_url.startswith("postgresql://me:")
    assert {name for name, report in shown.items() if report.problem} == {"PORT", "TEMPERATURE", "OPENAI_BASE_URL"}
    assert shown["OPENAI_API_KEY"].shown == MASK
    assert shown["DATABASE_URL"].shown == f"postgresql://me:{MASK}@db/name?password={MASK}&sslmode=require"
    assert not any("hunter2" in str(report) for report in reports)
    assert shown["PORT"].shown == "x"


def test_azure_without_a_key_is_one_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://x.example.org")
    reports, _ = inspect_settings()
    assert [report.variable for report in reports if report.problem] == ["AZURE_OPENAI_API_KEY"]


def test_secret_values_contain_every_configured_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-one")
    monkeypatch.setenv("METRICS_TOKEN", "token-two")
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:p%40ss@db/name")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "three")
    monkeypatch.setenv("AZURE_STORAGE_SAS", "sv=2026&sig=four")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountName=x;AccountKey=five==;EndpointSuffix=y")
    secrets = load_settings().secret_values()
    whole = {"sv=2026&sig=four", "AccountName=x;AccountKey=five==;EndpointSuffix=y"}
    assert set(secrets) == {"sk-one", "token-two", "p%40ss", "p@ss", "three", "four", "five==", *whole}


def test_every_setting_has_a_description() -> None:
    reports, _ = inspect_settings()
    assert [report.variable for report in reports] == [name.upper() for name in Settings.model_fields]
    assert all(report.description.endswith((".", "`.")) for report in reports)


def test_an_env_file_that_is_not_text_is_reported() -> None:
    Path(".env").write_bytes(b"PORT=\xff\xfe\n")
    with pytest.raises(SettingsError, match=r"Cannot read the file \.env .* not UTF-8"):
        load_settings()
    with pytest.raises(SettingsError, match=r"Cannot read the file \.env .* not UTF-8"):
        inspect_settings()


def test_the_cookie_secret_is_created_once_and_is_private(tmp_path: Path) -> None:
    settings = load_settings()
    secret = cookie_secret(settings)
    path = tmp_path / ".data" / "cookie_secret"
    assert cookie_secret(settings) == secret == path.read_text(encoding="ascii").strip()
    assert len(secret) >= 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["cookie_secret"]


def test_a_configured_cookie_secret_creates_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINLIT_AUTH_SECRET", "s" * 40)
    assert cookie_secret(load_settings()) == "s" * 40
    assert not (tmp_path / ".data").exists()


def test_the_mode_of_a_readable_cookie_secret_is_repaired(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = load_settings()
    secret = cookie_secret(settings)
    path = tmp_path / ".data" / "cookie_secret"
    path.chmod(0o644)
    assert cookie_secret(settings) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "was readable by other users" in caplog.text
    assert secret not in caplog.text


def test_an_empty_cookie_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".data").mkdir()
    (tmp_path / ".data" / "cookie_secret").write_text("", encoding="ascii")
    with pytest.raises(SettingsError, match="fewer than 32 characters"):
        cookie_secret(load_settings())


def test_a_data_dir_that_cannot_be_created_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    monkeypatch.setenv("DATA_DIR", "taken")
    with pytest.raises(SettingsError, match=r"Cannot create or read the cookie secret taken/cookie_secret: .*DATA_DIR"):
        cookie_secret(load_settings())


def _first_secrets(
    folders: list[Path], start: multiprocessing.synchronize.Barrier, found: "multiprocessing.Queue[list[str]]"
) -> None:
    secrets = []
    for folder in folders:
        settings = Settings(data_dir=folder)
        start.wait()
        secrets.append(cookie_secret(settings))
    found.put(secrets)


@pytest.mark.slow
def test_processes_that_start_at_the_same_time_share_one_cookie_secret(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, found = context.Barrier(4), context.Queue()
    folders = [tmp_path / str(number) for number in range(10)]
    processes = [context.Process(target=_first_secrets, args=(folders, start, found)) for _ in range(4)]
    for process in processes:
        process.start()
    secrets = [found.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert secrets[0] == secrets[1] == secrets[2] == secrets[3]
    assert len(set(secrets[0])) == len(folders)


@pytest.mark.parametrize(
    ("url", "shown", "secrets"),
    [
        ("postgresql://me:hunter2@db/x", "postgresql://me:********@db/x", {"hunter2"}),
        ("postgresql://me:hun#ter2@db/x", "postgresql://me:********@db/x", {"hun#ter2"}),
        ("postgresql://me:hun/ter2@db/x", "postgresql://me:********@db/x", {"hun/ter2"}),
        ("postgresql://me:hun?ter2@db/x", "postgresql://me:********@db/x", {"hun?ter2"}),
        (
            "postgresql://me:h@n/ter2@db/x?password=q",
            "postgresql://me:********@db/x?password=********",
            {"h@n/ter2", "q"},
        ),
        ("postgresql://me:hun%23ter2@a:1,b:2/x", "postgresql://me:********@a:1,b:2/x", {"hun%23ter2", "hun#ter2"}),
        ("postgresql://db:5432/x?sslmode=require", "postgresql://db:5432/x?sslmode=require", set()),
        ("postgresql:///x?service=a", "postgresql:///x?service=a", set()),
        ("sqlite:////data/a.db", "sqlite:////data/a.db", set()),
        ("s3://bucket/a@b?region=x", "s3://bucket/a@b?region=x", set()),
    ],
)
def test_no_part_of_a_password_in_a_url_is_shown(url: str, shown: str, secrets: set[str]) -> None:
    """Also if its special characters are not percent-encoded: that URL is refused, and shown with the reason."""
    assert mask_url(url) == shown
    assert set(secrets_in_url(url)) == secrets


def test_headers_of_apis_are_read_from_the_environment_and_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text(
        "KNOWLEDGE_HEADER_WIKI='Wiki.example.com Authorization: Bearer of-the-file'\n"
        "KNOWLEDGE_HEADER_SHOP='shop.example.com:8443 X-Key: 12:34'\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("KNOWLEDGE_HEADER_WIKI", "wiki.example.com Authorization: Bearer of-the-environment")
    found = fetch_headers()
    assert found == {
        "KNOWLEDGE_HEADER_WIKI": FetchHeader("wiki.example.com", "Authorization", "Bearer of-the-environment"),
        "KNOWLEDGE_HEADER_SHOP": FetchHeader("shop.example.com:8443", "X-Key", "12:34"),
    }
    assert "of-the-environment" not in repr(found)
    assert {"Bearer of-the-environment", "of-the-environment", "12:34"} <= set(header_secrets())
    assert misspelled_names() == []


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("shop.example.com:8443 Cookie: a=1; b=2", "a=1; b=2"),
        ("shop.example.com:8443\tCookie: a=1; b=2", "a=1; b=2"),
        ("shop.example.com:8443 Bad Name: a=1; b=2", "a=1; b=2"),
        ("shop.example.com Bearer of-the-shop", "Bearer of-the-shop"),
        ("X-Key:of-the-shop", "of-the-shop"),
        ("of-the-shop", "of-the-shop"),
    ],
)
def test_the_whole_value_of_a_header_is_masked(text: str, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KNOWLEDGE_HEADER_SHOP", text)
    assert header_secrets()[0] == secret


@pytest.mark.parametrize(
    "value", ["Bearer secret", "wiki.example.com Bearer", "wiki.example.com A B: secret", "w a: é"]
)
def test_a_header_that_is_not_valid_is_refused_without_its_value(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KNOWLEDGE_HEADER_WIKI", value)
    with pytest.raises(SettingsError, match="KNOWLEDGE_HEADER_WIKI") as refused:
        fetch_headers()
    assert "secret" not in str(refused.value)


def test_a_host_that_is_not_valid_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KNOWLEDGE_URL_HOSTS", "docs.example.com, wiki.example=0.0.0.0/0")
    with pytest.raises(SettingsError, match=r"KNOWLEDGE_URL_HOSTS contains the network 0\.0\.0\.0/0, which is not"):
        load_settings()
