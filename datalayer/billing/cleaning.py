"""Prices, projects and limits in the one form that is kept; what makes no sense is refused."""

import re
from dataclasses import replace
from decimal import Decimal, InvalidOperation

from datalayer.billing.prices import compile_pattern
from datalayer.cleaning import clean_id, clean_text, clean_time, utc_now
from datalayer.errors import InvalidRecord
from datalayer.records.usage import Limit, Price, Project

_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_SMALLEST = Decimal("1E-12")
_DEAREST = Decimal(1_000_000)
_HIGHEST = Decimal(10**11)


def clean_price(price: Price) -> Price:
    """The price in the one form that is kept.

    Raises:
        InvalidRecord: it cannot be kept.
    """
    compile_pattern(price.pattern)
    valid_from = clean_time(price.valid_from, "time of a price")
    if valid_from is None:
        raise InvalidRecord("a price needs a time from which it is valid")
    return replace(
        price,
        id=clean_id(price.id, "id of a price"),
        pattern=clean_text(price.pattern),
        provider=clean_text(price.provider).strip().lower() or None if price.provider else None,
        valid_from=valid_from,
        input=_amount(price.input, "input"),
        output=_amount(price.output, "output"),
        cached=None if price.cached is None else _amount(price.cached, "cached"),
        image=None if price.image is None else _amount(price.image, "image"),
        created_at=utc_now(),
    )


def _amount(value: Decimal, what: str) -> Decimal:
    if _is_kept_whole(value, _DEAREST):
        return value
    raise InvalidRecord(f"the price {what} must be from 0 to {_DEAREST:,} dollars, with twelve digits after the point")


def _is_kept_whole(value: Decimal, most: Decimal) -> bool:
    try:
        return 0 <= value <= most and value == value.quantize(_SMALLEST)
    except InvalidOperation:
        return False


def clean_project(project: Project) -> Project:
    if not project.name.strip():
        raise InvalidRecord("a project needs a name")
    for slug in (project.slug, *(provider.slug for provider in project.providers)):
        if not _SLUG.fullmatch(slug):
            raise InvalidRecord(f"{clean_text(slug)!r} is no slug: small letters and digits, with hyphens between")
    if len({provider.slug for provider in project.providers}) < len(project.providers):
        raise InvalidRecord("two providers have the same slug")
    for provider in project.providers:
        if provider.secret is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", provider.secret):
            # Whoever puts the key itself here must not find it in a message or a table later.
            raise InvalidRecord("a secret is named by its environment variable, in capitals; the key is never kept")
    return replace(
        project,
        id=clean_id(project.id, "id of a project"),
        name=clean_text(project.name.strip()),
        description=_text(project.description),
        organisation=_text(project.organisation),
        tags=tuple(dict.fromkeys(clean_text(tag) for tag in project.tags)),
        created_at=utc_now(),
    )


def _text(text: str | None) -> str | None:
    return clean_text(text) if text else None


def clean_limit(limit: Limit) -> Limit:
    if limit.scope not in ("user", "users", "project"):
        raise InvalidRecord("a limit is for a user, for each of the users, or for a project")
    if limit.period not in ("day", "month") or limit.unit not in ("tokens", "dollars"):
        raise InvalidRecord("a limit is of tokens or dollars in a day or a month")
    if (limit.subject_id is None) != (limit.scope == "users"):
        raise InvalidRecord("a limit for a user or a project names which, and one for each user names none")
    if not _is_kept_whole(limit.amount, _HIGHEST):
        raise InvalidRecord(f"a limit is from 0 to {_HIGHEST:,}")
    if limit.unit == "tokens" and limit.amount != int(limit.amount):
        raise InvalidRecord("a limit in tokens is a whole number")
    subject = None if limit.subject_id is None else clean_id(limit.subject_id, "id of what a limit is for")
    return replace(limit, id=clean_id(limit.id, "id of a limit"), subject_id=subject, created_at=utc_now())
