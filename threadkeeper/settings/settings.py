"""All settings, read once from the environment and from `.env` in the working directory into one frozen object.

Empty values count as unset. The defaults work on one machine without any account.
Invalid values stop the startup: one sentence per value names the variable and never repeats a secret.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from threadkeeper.chat.attachments.types import AttachmentKind
from threadkeeper.knowledge.fetching.hosts import url_hosts
from threadkeeper.settings import rules
from threadkeeper.settings.root_path import clean_root_path
from threadkeeper.settings.rules import ENV_FILE
from threadkeeper.settings.urls import secrets_in_url


class SettingsError(Exception):
    """Settings are invalid. The message has one sentence per setting, which names the variable."""


class FilledEnvironment(EnvSettingsSource):
    """The environment, without blank values."""

    def __call__(self) -> dict[str, Any]:
        return _filled(super().__call__())


class FilledEnvFile(DotEnvSettingsSource):
    """The `.env` file, without blank values."""

    def __call__(self) -> dict[str, Any]:
        return _filled(super().__call__())


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value.strip() for name, value in values.items() if isinstance(value, str) and value.strip()}


Count = Annotated[int, Field(ge=1)]
Days = Annotated[int | None, Field(ge=1, le=36_500)]


class Settings(BaseSettings):
    """The settings. Each environment variable is the name of its field in upper case."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        dotenv_filtering="only_existing",
        extra="ignore",
        hide_input_in_errors=True,
    )

    host: str = Field(
        default="127.0.0.1", description="Address to listen on. `0.0.0.0` listens on every network interface."
    )
    port: int = Field(default=8000, ge=1, le=65535, description="Port to listen on.")
    data_dir: Path = Field(
        default=rules.DATA_DIR,
        description="Folder for the database, the files and the cookie secret, unless other settings place them "
        "elsewhere.",
    )
    database_url: str = Field(
        default="",
        description="`sqlite:///path` or `postgresql://user:password@host/database`. If unset, a SQLite file in "
        "`DATA_DIR`.",
    )
    database_connections: int = Field(
        default=23,
        ge=5,
        le=1000,
        description="Postgres: maximum number of connections that one server process holds.",
    )
    database_read_url: str = Field(
        default="",
        description="Postgres: the URL of one standby, from which lists, searches, usage and the review are read. One "
        "process holds `DATABASE_CONNECTIONS` to it as well.",
    )
    blob_url: str = Field(
        default="",
        description="Store for attachments: `file:///folder`, `azure://account/container`, "
        "`azure-blob://account/container` or `s3://bucket`. If unset, a folder in `DATA_DIR`.",
    )
    azure_storage_connection_string: SecretStr | None = Field(
        default=None,
        description="Azure: connection string of the storage account. Set only one of this, `AZURE_STORAGE_KEY` "
        "and `AZURE_STORAGE_SAS`.",
    )
    azure_storage_key: SecretStr | None = Field(default=None, description="Azure: account key.")
    azure_storage_sas: SecretStr | None = Field(
        default=None, description="Azure: SAS token. If no Azure credential is set, a managed identity is used."
    )
    azure_storage_endpoint: str | None = Field(
        default=None,
        description="Azure: URL of the storage account, if it is not `https://ACCOUNT.dfs.core.windows.net` (or "
        "`.blob.`).",
    )
    s3_endpoint_url: str | None = Field(default=None, description="S3: URL of an S3-compatible server.")
    aws_region: str | None = Field(default=None, description="S3: region of the bucket.")
    aws_access_key_id: str | None = Field(
        default=None, description="S3: access key. If unset, boto's default credential chain is used."
    )
    aws_secret_access_key: SecretStr | None = Field(default=None, description="S3: secret access key.")
    aws_session_token: SecretStr | None = Field(
        default=None, description="S3: session token, for temporary credentials."
    )

    files_redirect_seconds: int | None = Field(
        default=None,
        ge=1,
        le=86_400,
        description="Lifetime in seconds of signed links through which browsers load files directly from the "
        "store. If unset, files are served by this server.",
    )

    openai_api_key: SecretStr | None = Field(default=None, description="API key of the model server.")
    openai_base_url: str | None = Field(
        default=None,
        description="URL of an OpenAI-compatible server. If unset and `OPENAI_API_KEY` is set, OpenAI itself.",
    )
    openai_models: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("gpt-4o-mini",),
        description="Models to choose from (on Azure: deployments), separated by commas. The first is the default. "
        "What admins decide at `/admin/models` takes precedence, for each model.",
    )
    openai_title_model: str | None = Field(
        default=None,
        description="Model that writes thread titles, and for knowledge rewrites follow-up questions and writes"
        " suggestions. If unset, the first of `OPENAI_MODELS`.",
    )
    azure_openai_endpoint: str | None = Field(
        default=None, description="`https://NAME.openai.azure.com`. If set, Azure OpenAI is used."
    )
    azure_openai_api_key: SecretStr | None = Field(
        default=None, validate_default=True, description="API key of Azure OpenAI."
    )
    azure_openai_api_version: str = Field(default="2024-10-21", description="API version of Azure OpenAI.")
    openai_timeout_seconds: float = Field(
        default=60,
        gt=0,
        le=3600,
        description="Read timeout: seconds to wait for the next data from the model. It also bounds the waits between "
        "the attempts of a call.",
    )
    openai_max_retries: int = Field(
        default=2, ge=0, le=10, description="Maximum retries of a model call that was refused or failed."
    )
    openai_context_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Context window of the model in tokens. If unset, the known window of the model, "
        "32768 if only its price is known, otherwise 8192.",
    )
    openai_vision: bool = Field(default=True, description="Send pictures to the model.")

    system_prompt: str = Field(
        default="", description="System prompt of new chats. If unset, a short default. `none`: no system prompt."
    )
    temperature: float = Field(
        default=1.0, ge=0, le=2, allow_inf_nan=False, description="Temperature of new chats, 0 to 2."
    )
    max_tokens: int | None = Field(
        default=None, ge=1, description="Maximum tokens per answer. If unset, the limit of the model."
    )

    usage_footer: bool = Field(default=True, description="Show model, tokens, cost and speed under each answer.")
    usage_keep_payloads: bool = Field(
        default=True,
        description="Store the messages and the answer of each model call, without secrets and pictures.",
    )
    usage_payload_days: Count = Field(
        default=30,
        description="Days until the stored messages and answer of a model call are deleted. Tokens and cost are kept.",
    )
    usage_time_zone: str = Field(
        default="UTC",
        description="Time zone of the days and months of limits, of dates in price commands, and of pages if the "
        "browser sends no time zone. For example `Europe/Berlin`.",
    )

    gateway_max_megabytes: Count = Field(
        default=100, description="Maximum size of a request to the gateway, in megabytes."
    )
    gateway_timeout_seconds: Count = Field(
        default=600,
        description="Seconds to wait for the next data of a provider behind the gateway.",
    )

    attachment_kinds: Annotated[tuple[AttachmentKind, ...], NoDecode] = Field(
        default=("picture", "pdf", "text", "document"),
        description="Allowed kinds of attachments, separated by commas: `picture`, `pdf`, `text` and `document` (Word, "
        "Excel and OpenDocument).",
    )
    attachment_max_files: Count = Field(default=10, description="Maximum number of files per message.")
    attachment_max_megabytes: Count = Field(default=20, description="Maximum size of one file, in megabytes.")
    attachment_max_total_megabytes: Count = Field(
        default=50, description="Maximum total size of the files of one message, in megabytes."
    )
    attachment_max_characters: Count = Field(
        default=100_000, description="Maximum number of characters read from one file."
    )
    attachment_max_pdf_pages: Count = Field(default=200, description="Maximum number of pages read from one PDF.")

    knowledge_embedding_model: str = Field(
        default="",
        description="Model that embeds what assistants know, on a server with OpenAI's protocol. If empty, a model of"
        " this machine embeds.",
    )
    knowledge_embedding_base_url: str | None = Field(
        default=None,
        description="Address of the server that embeds. If unset, it is the server that answers.",
    )
    knowledge_embedding_api_key: SecretStr | None = Field(
        default=None, description="Key of `KNOWLEDGE_EMBEDDING_BASE_URL`."
    )
    knowledge_embedding_dimensions: Count | None = Field(
        default=None,
        description="Numbers in a vector of `KNOWLEDGE_EMBEDDING_MODEL`, which the server is asked for. If unset, they"
        " are those of its answers.",
    )
    knowledge_chunk_tokens: int = Field(
        default=256, ge=64, le=8_000, description="Maximum number of tokens in a passage, from 64 to 8,000."
    )
    knowledge_chunk_overlap: int = Field(
        default=30,
        ge=0,
        le=60,
        description="Maximum number of tokens that a passage repeats of the one before, up to 60.",
    )
    knowledge_max_megabytes: Count = Field(default=50, description="Maximum size of a file that is trained, in MiB.")
    knowledge_max_pages: Count = Field(default=2_000, description="Maximum number of pages taken of one PDF.")
    knowledge_max_rows: Count = Field(default=50_000, description="Maximum number of rows taken of one table.")
    knowledge_load_seconds: Count = Field(default=60, description="Maximum time to load one file, in seconds.")
    knowledge_keep_trainings: Count = Field(
        default=3, description="Number of successful trainings of an assistant that are kept."
    )
    knowledge_url_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Hosts from which data sources are fetched, separated by commas, as in `docs.example.com`. Each is "
        "fetched by https unless it begins with `http://`. A host of a private network names the network: "
        "`wiki.corp.example=10.1.0.0/16`.",
    )
    api_webhook_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Hosts to which programs can send webhooks, separated by commas, in the form of "
        "`KNOWLEDGE_URL_HOSTS`. If unset, none.",
    )
    knowledge_fetch_seconds: Count = Field(
        default=120, description="Maximum time to fetch one data source, in seconds."
    )
    knowledge_fetch_pages: Count = Field(
        default=100, description="Maximum number of pages that are fetched of one HTTP API."
    )

    sample_assistant: bool = Field(
        default=True,
        description="Make the assistant “Threadkeeper's own handbook” when the first start creates the first user. It"
        " needs the model of this machine (`KNOWLEDGE_EMBEDDING_MODEL` is empty).",
    )

    review_labels: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("correct", "wrong", "unsafe", "unclear"),
        description="Verdicts that reviewers can choose, separated by commas, in the order of the keys 1, 2, 3.",
    )
    review_reasons: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("incorrect", "incomplete", "off-topic", "unsafe", "slow"),
        description="Reasons to choose from for a verdict and after a thumbs-down, separated by commas.",
    )
    review_ask_reasons: bool = Field(default=True, description="Ask users for a reason after a thumbs-down.")
    review_ask_purpose: bool = Field(
        default=False,
        description="Require a reason from reviewers before they open or export another person's thread.",
    )
    review_tell_users: bool = Field(
        default=False, description="Show users in the chat which of their answers were reviewed."
    )
    review_sample_percent: float = Field(
        default=5,
        ge=0,
        le=100,
        description="Percentage of the answers without a thumbs-down that is added to the queue.",
    )
    review_lock_minutes: float = Field(
        default=30, gt=0, le=1440, description="Minutes for which an answer from the queue is locked for one reviewer."
    )
    review_pseudonym_key: SecretStr | None = Field(
        default=None,
        description="Secret for pseudonyms. If set, exports replace user names with pseudonyms that stay the same "
        "while the key is unchanged.",
    )
    assistant_owners: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Users who see the votes on an assistant at `/me`: `assistant=user` pairs, separated by commas.",
    )
    retention_threads_days: Days = Field(
        default=None, description="Days without activity until a thread is deleted. If unset, threads are kept."
    )
    retention_files_days: Days = Field(
        default=None, description="Days until a file is deleted. If unset, files are kept."
    )
    retention_audit_days: Days = Field(
        default=None, description="Days until a row of the audit is deleted. If unset, rows are kept."
    )
    retention_every_hours: float | None = Field(
        default=None,
        gt=0,
        le=8760,
        description="How often, in hours, the server applies retention. If unset, run `threadkeeper retention "
        "--apply`.",
    )

    auth_header: str | None = Field(
        default=None,
        description="Header in which a trusted proxy passes the user name. Use it only if the server can be "
        "reached through the proxy alone.",
    )
    chainlit_auth_secret: SecretStr | None = Field(
        default=None,
        description="Secret that signs the login cookies. If unset, a secret is generated once and stored in "
        "`DATA_DIR/cookie_secret`.",
    )
    chainlit_url: str | None = Field(
        default=None,
        description="Public address of the chat behind a proxy, for example `https://chat.example.com`. With `https`, "
        "browsers send the cookies over HTTPS only.",
    )
    chainlit_cookie_samesite: Literal["lax", "strict", "none"] = Field(
        default="lax",
        description="`SameSite` attribute of the login cookie. With `none`, the cookie is sent over HTTPS only.",
    )

    chainlit_root_path: str = Field(
        default="",
        description="Path of the host under which everything is served, such as `/chat`, behind a proxy that forwards "
        "or removes it.",
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="INFO",
        description="Minimum log level: `DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`.",
    )
    log_json: bool = Field(default=False, description="Write each log line as a JSON object.")
    metrics_token: SecretStr | None = Field(
        default=None, description="If set, `/metrics` requires the header `Authorization: Bearer` with this token."
    )
    telemetry: bool = Field(
        default=False,
        description="Send traces to an OpenTelemetry collector, which the standard variables `OTEL_…` describe "
        "(docs/operation.md). Needs the extra `telemetry`.",
    )
    telemetry_texts: bool = Field(
        default=False, description="Put questions, answers and all messages for the model into the traces."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the library passes them by these names
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, FilledEnvironment(settings_cls), FilledEnvFile(settings_cls)

    @field_validator("data_dir")
    @classmethod
    def _at_home(cls, value: Path) -> Path:
        return rules.at_home(value)

    @field_validator("chainlit_root_path")
    @classmethod
    def _root_path(cls, value: str) -> str:
        return clean_root_path(value)

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: str) -> str:
        return rules.database_url(value)

    @field_validator("database_read_url")
    @classmethod
    def _read_database(cls, value: str, info: ValidationInfo) -> str:
        if value and not str(info.data.get("database_url", "postgresql:")).startswith("postgres"):
            raise ValueError("needs a DATABASE_URL that starts with postgresql://")
        return rules.database_read_url(value)

    @field_validator("blob_url")
    @classmethod
    def _blobs(cls, value: str) -> str:
        return rules.blob_url(value)

    @field_validator("azure_openai_endpoint", "azure_storage_endpoint", "s3_endpoint_url")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        return None if value is None else rules.web_address(value)

    @field_validator("openai_base_url", "knowledge_embedding_base_url")
    @classmethod
    def _model_address(cls, value: str | None) -> str | None:
        return None if value is None else rules.model_address(value)

    @field_validator(
        *("openai_models", "attachment_kinds", "review_labels", "review_reasons", "assistant_owners"),
        *("knowledge_url_hosts", "api_webhook_hosts"),
        mode="before",
    )
    @classmethod
    def _names(cls, value: object) -> object:
        return rules.names(value) if isinstance(value, str) else value

    @field_validator("review_labels", "review_reasons")
    @classmethod
    def _short(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return rules.short(value)

    @field_validator("assistant_owners")
    @classmethod
    def _pairs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return rules.pairs(value)

    @field_validator("knowledge_url_hosts", "api_webhook_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        url_hosts(value)
        return value

    @field_validator("openai_api_key", "azure_openai_api_key", "metrics_token", "knowledge_embedding_api_key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            rules.fits_a_header(value.get_secret_value())
        return value

    @field_validator("azure_openai_api_key")
    @classmethod
    def _with_the_endpoint(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and info.data.get("azure_openai_endpoint"):
            raise ValueError("must be set because AZURE_OPENAI_ENDPOINT is set")
        return value

    @field_validator("auth_header")
    @classmethod
    def _header(cls, value: str | None) -> str | None:
        return None if value is None else rules.header_name(value)

    @field_validator("chainlit_auth_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            rules.long_enough(value.get_secret_value())
        return value

    @field_validator("usage_time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        return rules.time_zone(value)

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_capitals(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @property
    def demo(self) -> bool:
        """Whether the built-in demo model answers, because no model server is configured."""
        return not (self.openai_api_key or self.openai_base_url or self.azure_openai_endpoint)

    @property
    def asked_reasons(self) -> tuple[str, ...]:
        """The reasons to choose from after a thumbs-down; empty if users are not asked."""
        return self.review_reasons if self.review_ask_reasons else ()

    @property
    def owners_of_assistants(self) -> dict[str, tuple[str, ...]]:
        """The identifiers of the owners of each assistant, by the name of the assistant."""
        owners: dict[str, tuple[str, ...]] = {}
        for pair in self.assistant_owners:
            assistant, _, owner = (part.strip() for part in pair.partition("="))
            owners[assistant] = (*owners.get(assistant, ()), owner)
        return owners

    @property
    def retention_days(self) -> dict[str, int]:
        """Retention in days by class of data; classes that are not listed are kept forever."""
        days = {
            "threads": self.retention_threads_days,
            "files": self.retention_files_days,
            "payloads": self.usage_payload_days,
            "audit": self.retention_audit_days,
        }
        return {name: number for name, number in days.items() if number is not None}

    @property
    def title_model(self) -> str:
        return self.openai_title_model or self.openai_models[0]

    def resolved_system_prompt(self, default: str) -> str:
        """SYSTEM_PROMPT, or the default if it is unset; empty for `none`."""
        return "" if self.system_prompt.strip().lower() == "none" else self.system_prompt or default

    @property
    def resolved_database_url(self) -> str:
        return self.database_url or rules.default_database_url(self.data_dir)

    @property
    def resolved_blob_url(self) -> str:
        return self.blob_url or (self.data_dir.absolute() / "files").as_uri()

    def secret_values(self) -> tuple[str, ...]:
        """Every configured secret as plain text, so that the log can mask it."""
        secrets = [value.get_secret_value() for _, value in self if isinstance(value, SecretStr)]
        for url in (
            *(self.database_url, self.database_read_url, self.blob_url, self.openai_base_url),
            *(self.azure_openai_endpoint, self.azure_storage_endpoint, self.s3_endpoint_url),
            self.knowledge_embedding_base_url,
        ):
            secrets.extend(secrets_in_url(url or ""))
        if self.azure_storage_connection_string:
            secrets.extend(
                _secrets_in(self.azure_storage_connection_string, ";", ("accountkey", "sharedaccesssignature"))
            )
        if self.azure_storage_sas:
            secrets.extend(_secrets_in(self.azure_storage_sas, "&", ("sig", "?sig")))
        return tuple(dict.fromkeys(secret for secret in secrets if secret))


def _secrets_in(text: SecretStr, separator: str, names: tuple[str, ...]) -> list[str]:
    """The values of these names in `name=value` pairs: a library may log a value without its pair."""
    pairs = (part.partition("=") for part in text.get_secret_value().split(separator))
    return [value for name, _, value in pairs if name.strip().lower() in names]


def plain(secret: SecretStr | None) -> str | None:
    """The secret as plain text; None if it is not set."""
    return secret.get_secret_value() if secret else None


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: a value is invalid, or the `.env` file cannot be read.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = problems_of(error)
        raise SettingsError(" ".join(f"{name.upper()} {reason}." for name, reason in problems.items())) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(unreadable(error)) from None


def names_in_env_file() -> list[str]:
    """The names of all variables in the `.env` file, also those of other programs, in upper case.

    Raises:
        SettingsError: the file cannot be read.
    """
    try:
        return [name.upper() for name in FilledEnvFile(Settings).env_vars]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(unreadable(error)) from None


def problems_of(error: ValidationError) -> dict[str, str]:
    """The first problem of each field."""
    found: dict[str, str] = {}
    for details in error.errors():
        found.setdefault(str(details["loc"][0]), _reason(details))
    return found


_REASONS = {
    "value_error": "{error}",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number with fewer digits",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "bool_parsing": "must be true or false",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be one of {expected}",
}


def _reason(details: ErrorDetails) -> str:
    known = _REASONS.get(details["type"])
    return known.format(**details.get("ctx", {})) if known else f"is invalid: {details['msg']}"


def unreadable(error: OSError | UnicodeDecodeError) -> str:
    """The sentence for a `.env` file that cannot be read."""
    reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
    return f"Cannot read the file {ENV_FILE} in the working directory: {reason}."
