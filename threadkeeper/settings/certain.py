"""The database URL without pydantic, whose import takes three times as long as a command that reads a few rows.

Nothing is decided here: `certain_database_url` returns the URL only if `load_settings` certainly accepts every setting,
and otherwise the command calls `load_settings`. A rare but valid value, such as a PORT of `+8_000`, may count as not
certain; an invalid value never counts as certain. Tests compare the table with the fields of `Settings`.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from threadkeeper.knowledge.fetching.hosts import url_hosts
from threadkeeper.settings import rules
from threadkeeper.settings.root_path import clean_root_path
from threadkeeper.settings.rules import ENV_FILE

_WHOLE = re.compile(r"[0-9]{1,9}")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")

Check = Callable[[str], bool]


def _any_text(_text: str) -> bool:
    return True


def _never(_text: str) -> bool:
    return False


def _flag(text: str) -> bool:
    return text.lower() in ("true", "false", "yes", "no", "on", "off", "1", "0")


def _follows(rule: Callable[[str], object]) -> Check:
    def check(text: str) -> bool:
        try:
            rule(text)
        except ValueError:
            return False
        return True

    return check


def _whole(least: int, most: int = 999_999_999) -> Check:
    return lambda text: bool(_WHOLE.fullmatch(text)) and least <= int(text) <= most


def _number(least: float, most: float) -> Check:
    return lambda text: bool(_NUMBER.fullmatch(text)) and least <= float(text) <= most


def _positive(most: float) -> Check:
    return lambda text: bool(_NUMBER.fullmatch(text)) and 0 < float(text) <= most


def _one_of(*choices: str) -> Check:
    return lambda text: text in choices


_CHECKS: dict[Check, str] = {
    _any_text: """
        host azure_storage_connection_string azure_storage_key azure_storage_sas aws_region aws_access_key_id
        aws_secret_access_key aws_session_token openai_title_model azure_openai_api_version system_prompt
        review_pseudonym_key chainlit_url knowledge_embedding_model
    """,
    _flag: """
        openai_vision usage_footer usage_keep_payloads review_ask_reasons review_ask_purpose review_tell_users log_json
        sample_assistant telemetry telemetry_texts
    """,
    _follows(rules.database_url): "database_url",
    _follows(rules.database_read_url): "database_read_url",
    _follows(rules.blob_url): "blob_url",
    _follows(rules.web_address): "azure_openai_endpoint azure_storage_endpoint s3_endpoint_url",
    _follows(rules.model_address): "openai_base_url knowledge_embedding_base_url",
    _follows(rules.names): "openai_models",
    _follows(rules.fits_a_header): """
        openai_api_key azure_openai_api_key metrics_token knowledge_embedding_api_key
    """,
    _follows(rules.header_name): "auth_header",
    _follows(rules.long_enough): "chainlit_auth_secret",
    _follows(clean_root_path): "chainlit_root_path",
    _follows(rules.time_zone): "usage_time_zone",
    _follows(lambda text: rules.at_home(Path(text))): "data_dir",
    _follows(lambda text: rules.short(rules.names(text))): "review_labels review_reasons",
    _follows(lambda text: rules.pairs(rules.names(text))): "assistant_owners",
    _follows(lambda text: url_hosts(rules.names(text))): "knowledge_url_hosts api_webhook_hosts",
    _whole(1): """
        openai_context_tokens max_tokens usage_payload_days attachment_max_files attachment_max_megabytes
        attachment_max_total_megabytes attachment_max_characters attachment_max_pdf_pages
        knowledge_embedding_dimensions knowledge_max_megabytes knowledge_max_pages knowledge_max_rows
        gateway_max_megabytes gateway_timeout_seconds
        knowledge_load_seconds knowledge_keep_trainings knowledge_fetch_seconds knowledge_fetch_pages
    """,
    _whole(1, 65_535): "port",
    _whole(64, 8_000): "knowledge_chunk_tokens",
    _whole(0, 60): "knowledge_chunk_overlap",
    _whole(5, 1000): "database_connections",
    _whole(1, 86_400): "files_redirect_seconds",
    _whole(0, 10): "openai_max_retries",
    _whole(1, 36_500): "retention_threads_days retention_files_days retention_audit_days",
    _number(0, 2): "temperature",
    _number(0, 100): "review_sample_percent",
    _positive(3600): "openai_timeout_seconds",
    _positive(1440): "review_lock_minutes",
    _positive(8760): "retention_every_hours",
    _one_of("lax", "strict", "none"): "chainlit_cookie_samesite",
    _one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"): "log_level",
    _never: "attachment_kinds",
}
CHECKS: dict[str, Check] = {name: check for check, names in _CHECKS.items() for name in names.split()}
"""For each setting, whether a text without blanks around it is certain to be valid."""


def certain_database_url() -> str | None:
    """The database URL, if every setting is certain to be valid."""
    if (of_file := _in_env_file()) is None:
        return None
    given: dict[str, str] = {}
    # The environment overrides the file.
    for source in (of_file, os.environ):
        known = [(name.lower(), text or "") for name, text in source.items() if name.lower() in CHECKS]
        if len(dict(known)) < len(known):  # the same name in capitals and in small letters
            return None
        given.update({name: text.strip() for name, text in known if text.strip()})
    if not all(CHECKS[name](text) for name, text in given.items()):
        return None
    if "azure_openai_endpoint" in given and "azure_openai_api_key" not in given:
        return None
    if "database_read_url" in given and not given.get("database_url", "").startswith("postgres"):
        return None
    data_dir = rules.at_home(Path(given["data_dir"])) if "data_dir" in given else rules.DATA_DIR
    return given.get("database_url") or rules.default_database_url(data_dir)


def _in_env_file() -> Mapping[str, str | None] | None:
    """The variables in the `.env` file; None if it cannot be read."""
    if not os.path.lexists(ENV_FILE):
        return {}
    from dotenv import dotenv_values  # noqa: PLC0415  only a directory with this file needs it

    try:
        return dotenv_values(ENV_FILE, encoding="utf-8") if Path(ENV_FILE).is_file() else None
    except (OSError, UnicodeDecodeError):
        return None
