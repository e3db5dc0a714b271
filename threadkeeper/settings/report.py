"""The report of `threadkeeper check`: each setting with its origin and its problem. Secrets are masked."""

from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import SecretStr, ValidationError

from threadkeeper.settings.cookie_secret import is_stored
from threadkeeper.settings.settings import (
    FilledEnvFile,
    FilledEnvironment,
    Settings,
    SettingsError,
    problems_of,
    unreadable,
)
from threadkeeper.settings.urls import MASK, mask_url

Origin = Literal["environment", ".env file", "default"]


@dataclass(frozen=True, slots=True)
class SettingReport:
    """One setting for display to an operator. In `shown`, secrets are masked."""

    variable: str
    shown: str
    origin: Origin
    problem: str | None
    description: str


def inspect_settings() -> tuple[list[SettingReport], Settings]:
    """A report on each setting (origin, problem), and the settings with defaults in place of invalid values.

    Raises:
        SettingsError: the `.env` file cannot be read.
    """
    try:
        from_environment, from_file = FilledEnvironment(Settings)(), FilledEnvFile(Settings)()
        settings, problems = _settings_and_problems()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(unreadable(error)) from None
    # In a server, Chainlit has put the file's values into the environment, and the server its own secret.
    from_environment = {name: value for name, value in from_environment.items() if from_file.get(name) != value}
    if is_stored(from_environment.get("chainlit_auth_secret", ""), settings.data_dir):
        del from_environment["chainlit_auth_secret"]
    reports = []
    for name, field in Settings.model_fields.items():
        origin: Origin = "environment" if name in from_environment else ".env file" if name in from_file else "default"
        value = from_environment.get(name, from_file.get(name, field.default))
        shown = MASK if value and SecretStr in get_args(field.annotation) else _shown(value)
        reports.append(SettingReport(name.upper(), shown, origin, problems.get(name), field.description or ""))
    return reports, settings


def shown_settings() -> list[dict[str, str]]:
    """Each setting with the keys "variable", "value" (secrets are masked), "origin" and "description"."""
    return [
        {"variable": one.variable, "value": one.shown, "origin": one.origin, "description": one.description}
        for one in inspect_settings()[0]
    ]


def _settings_and_problems() -> tuple[Settings, dict[str, str]]:
    try:
        return Settings(), {}
    except ValidationError as error:
        problems = problems_of(error)
    left_out = {name: Settings.model_fields[name].default for name in problems}
    if "azure_openai_api_key" in problems:
        left_out["azure_openai_endpoint"] = None
    return Settings(**left_out), problems


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    text = "" if value is None else str(value)
    return mask_url(text) if "://" in text else text
