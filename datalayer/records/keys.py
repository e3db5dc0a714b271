"""Frozen records of API keys and their rates. Times are UTC texts, as in `records/usage.py`."""

from dataclasses import dataclass, field
from typing import Literal, get_args

KeyScope = Literal[
    "threads:read", "threads:write", "assistants", "gateway", "usage:read", "account", "reviews", "admin"
]

KEY_SCOPES: tuple[KeyScope, ...] = get_args(KeyScope)
ROLES_OF_SCOPES: dict[KeyScope, tuple[str, ...]] = {"reviews": ("reviewer", "admin"), "admin": ("admin",)}
"""The roles whose users can have a scope; the other scopes are for everyone."""

RateKind = Literal["requests", "tokens"]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key by which a program acts as a user. The secret itself is not stored.

    `prefix` are the first ten characters of the secret. `owner` is the identifier of the user, `role` the user's role
    now. `project` is the slug of the project that pays for the calls; None means the default project. Without `models`,
    the key may use every model. Without a number, the requests or tokens a minute are not limited.
    """

    id: str
    name: str
    prefix: str
    user_id: str
    owner: str
    project: str | None
    scopes: tuple[KeyScope, ...]
    models: tuple[str, ...]
    requests_per_minute: int | None
    tokens_per_minute: int | None
    created_at: str
    expires_at: str | None = None
    last_used_at: str | None = None
    revoked_at: str | None = None
    role: str = "user"

    def is_expired_at(self, moment: str) -> bool:
        """Whether the key has expired at this time (UTC, as `utc_now` gives it)."""
        return self.expires_at is not None and self.expires_at <= moment


@dataclass(frozen=True, slots=True)
class Rate:
    """What a rate allows: `limit` a minute, of which `remaining` can be taken at once.

    `retry_after` are the seconds until the refused amount is allowed, 0 if it is allowed now; `reset_after` those until
    all of `limit` can be taken.
    """

    allowed: bool
    limit: int
    remaining: int
    retry_after: float
    reset_after: float = 0.0


@dataclass(frozen=True, slots=True)
class ApiReply:
    """The first answer to a request that names itself (`Idempotency-Key`), for its repetitions.

    `digest` is that of the request. `status` is None while it is being answered. `headers` and `body` are those of the
    answer.
    """

    digest: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
