"""Validates prices, projects and limits, and brings their values into the form in which they are stored."""

import re
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from urllib.parse import urlsplit

from datalayer.billing.prices import compile_pattern
from datalayer.cleaning import clean_id, clean_text, clean_time, utc_now
from datalayer.errors import InvalidRecord
from datalayer.records.usage import Limit, Price, Project

_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_SMALLEST = Decimal("1E-12")
DEAREST = Decimal(1_000_000)
"""US dollars: the highest price."""
HIGHEST = Decimal(10**11)
"""The highest amount of a limit."""


def clean_price(price: Price) -> Price:
    """The price as it is stored.

    Raises:
        InvalidRecord: the pattern, the id, the time or an amount is not valid.
    """
    compile_pattern(price.pattern)
    valid_from = clean_time(price.valid_from, "time of a price")
    if valid_from is None:
        raise InvalidRecord(
            "`valid_from` of a price is missing: give the time from which the price applies", field="valid_from"
        )
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
    if is_kept_whole(value, DEAREST):
        return value
    raise InvalidRecord(
        f"the price {what} must be from 0 to {DEAREST:,} dollars, with at most twelve decimal places", field=what
    )


def is_kept_whole(value: Decimal, most: Decimal) -> bool:
    """Whether an amount is from 0 to this one, and its columns keep all of its decimal places."""
    try:
        return 0 <= value <= most and value == value.quantize(_SMALLEST)
    except InvalidOperation:
        return False


def clean_project(project: Project) -> Project:
    """The project as it is stored.

    Raises:
        InvalidRecord: the name is empty, a slug is not valid or occurs twice, or a secret is not the name of an
            environment variable.
    """
    if not project.name.strip():
        raise InvalidRecord("a project needs a name", field="name")
    slugs = {"slug": project.slug} | {f"providers.{at}.slug": one.slug for at, one in enumerate(project.providers)}
    for field, slug in slugs.items():
        if not is_slug(slug):
            raise InvalidRecord(
                f"the slug {clean_text(slug)!r} is not valid: use a-z and 0-9, with hyphens in between", field=field
            )
    if len({provider.slug for provider in project.providers}) < len(project.providers):
        raise InvalidRecord("two providers of the project have the same slug", field="providers")
    for place, provider in enumerate(project.providers):
        if provider.secret is not None and not is_secret_name(provider.secret):
            # The value is not repeated: it may be the key itself.
            raise InvalidRecord(
                "the secret must be the name of an environment variable, in capitals, and not the key",
                field=f"providers.{place}.secret",
            )
        if provider.base_url is not None and not is_address(provider.base_url):
            raise InvalidRecord(
                f"the base_url of the provider {provider.slug!r} must begin with http:// or https:// and have neither "
                "a user, a query nor a fragment",
                field=f"providers.{place}.base_url",
            )
    return replace(
        project,
        id=clean_id(project.id, "id of a project"),
        name=clean_text(project.name.strip()),
        description=_text(project.description),
        organisation=_text(project.organisation),
        tags=tuple(dict.fromkeys(clean_text(tag) for tag in project.tags)),
        created_at=utc_now(),
    )


def is_slug(text: str) -> bool:
    """Whether this can be the slug of a project or provider."""
    return _SLUG.fullmatch(text) is not None


def is_secret_name(text: str) -> bool:
    """Whether this can be the name of the environment variable with a key."""
    return re.fullmatch(r"[A-Z_][A-Z0-9_]*", text) is not None


def is_address(url: str) -> bool:
    """Whether this can be the `base_url` of a provider."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    is_plain = not ({"@", "?", "#", "\\"} & set(url)) and url.isascii() and url.isprintable() and " " not in url
    return parts.scheme in ("http", "https") and bool(parts.hostname) and is_plain


def _text(text: str | None) -> str | None:
    return clean_text(text) if text else None


def clean_limit(limit: Limit) -> Limit:
    """The limit as it is stored.

    Raises:
        InvalidRecord: a field is not valid.
    """
    if limit.scope not in ("user", "users", "project", "key"):
        raise InvalidRecord("the scope of a limit must be user, users, project or key", field="scope")
    if limit.period not in ("day", "month") or limit.unit not in ("tokens", "dollars"):
        raise InvalidRecord("the period of a limit must be day or month, and its unit tokens or dollars")
    if (limit.subject_id is None) != (limit.scope == "users"):
        raise InvalidRecord("a limit needs subject_id, but for the scope users, which has none", field="subject")
    if not is_kept_whole(limit.amount, HIGHEST):
        raise InvalidRecord(
            f"the amount of a limit must be from 0 to {HIGHEST:,}, with at most twelve decimal places", field="amount"
        )
    if limit.unit == "tokens" and limit.amount != int(limit.amount):
        raise InvalidRecord("the amount of a limit in tokens must be a whole number", field="amount")
    subject = None if limit.subject_id is None else clean_id(limit.subject_id, "subject_id of a limit")
    return replace(limit, id=clean_id(limit.id, "id of a limit"), subject_id=subject, created_at=utc_now())
