"""Public methods for API keys.

A user makes, sees and revokes the own keys; the system those of all; a visitor none. The system finds a key by its
secret, and counts rates. Making and revoking leaves a row in the audit.
"""

import unicodedata
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_id, clean_text, clean_time, known_id, utc_in, utc_now
from datalayer.errors import Forbidden, InvalidRecord, NotFound
from datalayer.keys import rates, replies, rows
from datalayer.keys.secrets import PREFIX_LENGTH, hash_of, new_secret
from datalayer.ownership import SYSTEM, Actor, acting_user, demand_system, recorded
from datalayer.records.keys import KEY_SCOPES, ROLES_OF_SCOPES, ApiKey, ApiReply, KeyScope, Rate, RateKind
from datalayer.review import audit
from datalayer.store import DataStore
from datalayer.writes.repeats import repeatable

LONGEST_NAME = 100
MOST_MODELS = 100
_LONGEST_MODEL = 200
_HIGHEST_RATE = 10**9
_SEEN_EVERY_SECONDS = 60.0


class Keys(DataStore):
    """API keys: programs act as their users by them."""

    async def create_api_key(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        user: str | None = None,
        project: str | None = None,
        models: Sequence[str] = (),
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        expires_at: str | None = None,
        by: str | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key; returns it with its secret, which is stored nowhere and cannot be read again.

        Args:
            name: for lists; several keys may have the same.
            scopes: what the key allows, from `KEY_SCOPES`; those of `ROLES_OF_SCOPES` only for users of these roles.
            user: the identifier of the key's user; None for the acting user.
            project: the slug of the project that pays; None for the default project.
            models: the only models that the key may use; all without any.
            requests_per_minute, tokens_per_minute: rates; None without.
            expires_at: a time in the future, ISO 8601; None for a key that does not expire.
            by: if the system acts, the admin for whom it does, for the audit.

        Raises:
            InvalidRecord: a value is not valid, or the user has `rows.MOST_KEYS` keys.
            NotFound: there is no such user or project.
            Forbidden: a visitor acts; or the user is not the acting user; or the project is not theirs.
        """
        actor, now = acting_user.get(), utc_now()
        if actor is None or (actor is SYSTEM and user is None):
            raise Forbidden("a key needs a user")
        whose = clean_text(str(user)) if user is not None else str(actor)
        cleaned = _clean_scopes(scopes)
        shown = _clean_name(name)
        known_models = _clean_models(models)
        ends = clean_time(expires_at, "expires_at of a key")
        if ends is not None and ends <= now:
            raise InvalidRecord(f"expires_at of a key must be in the future, not {ends}", field="expires_at")
        by_minute = (_clean_rate(requests_per_minute, "requests"), _clean_rate(tokens_per_minute, "tokens"))
        secret, key_id = new_secret(), str(uuid.uuid4())
        digest = str(hash_of(secret))

        async def add(connection: AsyncConnection) -> ApiKey:
            of_user = await rows.owner(connection, whose)
            if actor is not SYSTEM and of_user.identifier != actor:
                raise Forbidden("a user makes keys only for themselves")
            for scope in cleaned:
                if of_user.role not in (roles := ROLES_OF_SCOPES.get(scope, (of_user.role,))):
                    raise InvalidRecord(
                        f"the scope {scope} is for {' and '.join(roles)}: {of_user.identifier} is none", field="scopes"
                    )
            pays = None
            if project is not None:
                pays = await rows.project_id(connection, project, None if actor is SYSTEM else of_user)
            key = ApiKey(
                *(key_id, shown, secret[:PREFIX_LENGTH], of_user.id, of_user.identifier, project, cleaned),
                *(known_models, *by_minute, now, ends),
                role=of_user.role,
            )
            await rows.add(connection, key, pays, digest)
            details = {"key": key.id, "prefix": key.prefix, "scopes": list(key.scopes)}
            await audit.note(connection, "create_key", _noted(actor, by), [(None, key.user_id)], details=details)
            return key

        async def is_added(connection: AsyncConnection) -> bool:
            return await rows.get(connection, SYSTEM, key_id) is not None

        added: ApiKey = await self._writer.submit(repeatable(add, is_added))
        return added, secret

    async def list_api_keys(self, user: str | None = None) -> list[ApiKey]:
        """The keys that the acting user may see, newest first, with revoked and expired ones.

        Args:
            user: only keys of the user with this identifier.
        """
        actor, name = acting_user.get(), None if user is None else clean_text(user)
        return await self.database.query(lambda connection: rows.list_all(connection, actor, name))

    async def get_api_key(self, key_id: str) -> ApiKey | None:
        """The key with this id, also if it is revoked or expired; None if the acting user may not see one."""
        actor, known = acting_user.get(), known_id(key_id)
        if known is None:
            return None
        return await self.database.query(lambda connection: rows.get(connection, actor, known))

    async def rename_api_key(self, key_id: str, name: str) -> ApiKey:
        """Give a key that is not revoked another name.

        Raises:
            InvalidRecord: this is not an id, or the name is not valid.
            NotFound: the key does not exist, is revoked, or belongs to somebody else.
        """
        actor, known, shown = acting_user.get(), clean_id(key_id, "id of a key"), _clean_name(name)
        renamed: ApiKey = await self._writer.submit(lambda connection: rows.rename(connection, actor, known, shown))
        return renamed

    async def revoke_api_key(self, key_id: str, *, by: str | None = None) -> ApiKey:
        """Revoke the key for ever. One that is revoked already stays as it is. `by` is as of `create_api_key`.

        Raises:
            InvalidRecord: this is not an id.
            NotFound: the key does not exist, or belongs to somebody else.
        """
        actor, known = acting_user.get(), clean_id(key_id, "id of a key")
        if actor is None:
            raise NotFound(f"there is no key {known}")

        async def revoke(connection: AsyncConnection) -> ApiKey:
            key, is_new = await rows.revoke(connection, actor, known, utc_now())
            if is_new:
                details = {"key": key.id, "prefix": key.prefix}
                await audit.note(connection, "revoke_key", _noted(actor, by), [(None, key.user_id)], details=details)
            return key

        revoked: ApiKey = await self._writer.submit(revoke)
        return revoked

    async def find_api_key(self, secret: str) -> ApiKey | None:
        """The key of this secret: one statement. None if it is unknown, revoked or expired, or its user is disabled.

        Raises:
            Forbidden: a user acts.
        """
        demand_system(acting_user.get(), "the search for a key")
        digest = hash_of(secret)
        return None if digest is None else await rows.find_valid(self.database, digest, utc_now())

    async def see_api_key(self, key_id: str) -> None:
        """Store that the key is used now, at most once a minute.

        Raises:
            Forbidden: a user acts.
        """
        demand_system(acting_user.get(), "the record of a key's use")
        known = clean_id(key_id, "id of a key")
        now, before = utc_now(), utc_in(-_SEEN_EVERY_SECONDS)
        await self._writer.submit(lambda connection: rows.see(connection, known, now, before))

    async def take_rate(
        self, key_id: str, kind: RateKind, amount: int, per_minute: int, *, is_owed: bool = False
    ) -> Rate:
        """Take the amount from what the key may use a minute, if it is left: one statement.

        An amount larger than `per_minute` is allowed when nothing is taken, and the next ones wait longer.

        Args:
            kind: "requests" or "tokens"; each is counted on its own.
            amount: at least 0.
            per_minute: at least 1; so much can be taken at once, and it fills again evenly.
            is_owed: take the amount in any case, because it was used already.

        Raises:
            Forbidden: a user acts.
            InvalidRecord: a value is not valid, or the key does not exist any more.
        """
        demand_system(acting_user.get(), "the count of a rate")
        known, dialect = clean_id(key_id, "id of a key"), self.database.dialect
        if kind not in get_args(RateKind) or amount < 0 or per_minute < 1:
            raise InvalidRecord("a rate needs a kind, an amount of at least 0 and at least 1 a minute")
        rate: Rate = await self._writer.submit(
            lambda connection: rates.take(
                connection, dialect, known, kind, amount=amount, per_minute=per_minute, is_owed=is_owed
            )
        )
        return rate

    async def begin_reply(self, key_id: str, name: str, digest: str) -> ApiReply | None:
        """Begin the answer to a request with an `Idempotency-Key`, unless it was begun before.

        Args:
            key_id: of the API key.
            name: the `Idempotency-Key`.
            digest: of the request.

        Returns:
            None if the answer begins now; else the one that was begun in the last 24 hours.

        Raises:
            Forbidden: a user acts.
        """
        demand_system(acting_user.get(), "the record of answers")
        known, named, dialect = clean_id(key_id, "id of a key"), clean_text(name), self.database.dialect
        moment = utc_now()

        async def begin(connection: AsyncConnection) -> ApiReply | None:
            return await replies.begin(connection, dialect, known, named, digest, moment=moment)

        async def is_begun(connection: AsyncConnection) -> bool:
            return await replies.is_begun(connection, known, named, digest, moment=moment)

        found: ApiReply | None = await self._writer.submit(repeatable(begin, is_begun))
        return found

    async def end_reply(self, key_id: str, name: str, reply: ApiReply, thread_id: str | None = None) -> None:
        """Store the answer that was begun. It is deleted with the thread, if it is of one, and with the key.

        Args:
            key_id, name: as `begin_reply`.
            reply: its digest is that of the request.
            thread_id: of the thread that the answer is from.

        Raises:
            Forbidden: a user acts.
        """
        demand_system(acting_user.get(), "the record of answers")
        known, named = clean_id(key_id, "id of a key"), clean_text(name)
        kept, of_thread = replace(reply, body=clean_text(reply.body)), known_id(thread_id)
        dialect = self.database.dialect
        await self._writer.submit(
            lambda connection: replies.end(connection, dialect, known, named, reply=kept, thread_id=of_thread)
        )

    async def drop_reply(self, key_id: str, name: str, digest: str) -> None:
        """Forget an answer that was begun and not stored: the request of this digest may be sent again.

        Raises:
            Forbidden: a user acts.
        """
        demand_system(acting_user.get(), "the record of answers")
        known, named = clean_id(key_id, "id of a key"), clean_text(name)
        await self._writer.submit(lambda connection: replies.drop(connection, known, named, digest))


def _noted(actor: Actor, by: str | None) -> str | None:
    """Who is in the audit."""
    return by if actor is SYSTEM else recorded(actor)[0]


def _clean_name(name: str) -> str:
    cleaned = clean_text(str(name)).strip()
    if not 1 <= len(cleaned) <= LONGEST_NAME:
        raise InvalidRecord(f"a key needs a name of 1 to {LONGEST_NAME} characters", field="name")
    if any(unicodedata.category(one) in ("Cc", "Cf", "Zl", "Zp") for one in cleaned):
        raise InvalidRecord("the name of a key must not contain line breaks or other control characters", field="name")
    return cleaned


def _clean_scopes(scopes: Sequence[str]) -> tuple[KeyScope, ...]:
    """The scopes in the order of `KEY_SCOPES`."""
    if unknown := [one for one in scopes if one not in KEY_SCOPES]:
        raise InvalidRecord(
            f"the scope {clean_text(str(unknown[0]))[:60]!r} is unknown: use {', '.join(KEY_SCOPES)}", field="scopes"
        )
    if not scopes:
        raise InvalidRecord(f"a key needs a scope: {', '.join(KEY_SCOPES)}", field="scopes")
    return tuple(one for one in KEY_SCOPES if one in scopes)


def _clean_models(models: Sequence[str]) -> tuple[str, ...]:
    cleaned = tuple(dict.fromkeys(clean_text(str(one)).strip() for one in models))
    if len(cleaned) > MOST_MODELS or any(not 1 <= len(one) <= _LONGEST_MODEL for one in cleaned):
        raise InvalidRecord(
            f"a key has at most {MOST_MODELS} models, with names of 1 to {_LONGEST_MODEL} characters", field="models"
        )
    return cleaned


def _clean_rate(value: int | None, what: str) -> int | None:
    if value is not None and (isinstance(value, bool) or not 1 <= value <= _HIGHEST_RATE):
        raise InvalidRecord(f"{what} a minute of a key must be from 1 to {_HIGHEST_RATE:,}", field=f"{what}_per_minute")
    return value
