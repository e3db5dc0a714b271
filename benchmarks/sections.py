"""What a module of measurements gives to the page: its own section, and its rows of the table of budgets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Judged:
    """One budget that hangs on no size of the history."""

    what: str
    promised: str
    found: str
    """The number, with its unit; "not measured" where something that it needs is not there."""
    met: bool | None


@dataclass(frozen=True)
class Section:
    title: str
    lines: tuple[str, ...]
    """Markdown, without the title."""
    judged: tuple[Judged, ...] = ()


TITLES = {
    "floor": "floor",
    "ours": "Threadkeeper",
    "sqlalchemy": "Chainlit's SQLAlchemy layer",
    "asyncpg": "Chainlit's asyncpg layer",
}
