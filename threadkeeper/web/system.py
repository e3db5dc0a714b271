"""What the page of the system shows of the settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request


@dataclass(frozen=True, slots=True)
class System:
    """What the page shows of the settings.

    Args:
        data_dir: whose disk is shown.
        database, files: the URLs, with masked secrets.
        retention_days, retention_every_hours: as the settings of these names.
        settings: gives the settings, as `settings.report.shown_settings` does.
        dump_line: the command that makes the copy of the database for a backup; None if the server can make it itself.
    """

    data_dir: Path = Path()
    database: str = ""
    files: str = ""
    retention_days: Mapping[str, int] | None = None
    retention_every_hours: float | None = None
    settings: Callable[[], Sequence[dict[str, str]]] = tuple
    dump_line: str | None = None


async def _system(request: Request) -> System:
    system: System = request.state.system
    return system


About = Annotated[System, Depends(_system)]
