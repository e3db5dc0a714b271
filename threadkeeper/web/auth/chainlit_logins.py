"""How Chainlit logs people in and out: by password, by a trusted header, by OAuth."""

import asyncio
import logging

from chainlit.config import config
from chainlit.oauth_providers import get_configured_oauth_providers
from chainlit.user import User
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from datalayer import SYSTEM, DataLayerError, Login, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.login.accounts import Authenticator, admit_external, printable, stored_name
from threadkeeper.web.auth.gate import Person, login_at, person_at
from threadkeeper.web.auth.tokens import accept_other_clocks

logger = logging.getLogger(__name__)

_LOG_OUT_SECONDS = 2.0


def register_logins(
    layer: ChainlitLayer, *, auth_header: str | None = None, authenticator: Authenticator | None = None
) -> None:
    """Set Chainlit's login callbacks: passwords always, OAuth where its variables are set, a header where one is named.

    Logging out ends the login for every copy of its cookie.

    Chainlit's decorators turn every exception into "wrong password". The callbacks are therefore set without them, so
    that an unreachable database is reported as such.

    Args:
        layer: where the accounts and logins are.
        auth_header: the header in which a trusted proxy names the user.
        authenticator: checks names and passwords; by default a new one on the layer.
    """
    accept_other_clocks()
    checked = authenticator or Authenticator(layer)

    async def by_password(identifier: str, password: str) -> User | None:
        user = await checked.verify(identifier, password)
        return User(identifier=user.identifier, metadata={"provider": "credentials"}) if user else None

    async def by_header(headers: Headers) -> User | None:
        identifier = _only_value(headers, auth_header or "")
        if identifier is None or not await admit_external(layer, identifier, "header"):
            return None
        return User(identifier=await stored_name(layer, identifier), metadata={"provider": "header"})

    async def by_oauth(
        provider_id: str, _token: str, _profile: dict[str, str], user: User, _id_token: str | None = None
    ) -> User | None:
        provider = user.metadata.get("provider") or provider_id
        if not await admit_external(layer, user.identifier, provider):
            return None
        # Drop the picture: it would make the page request another host on every visit.
        kept = {key: value for key, value in user.metadata.items() if key != "image"}
        name = await stored_name(layer, user.identifier)
        return User(identifier=name, display_name=user.display_name, metadata={**kept, "provider": provider})

    async def end(person: Person, login: Login) -> None:
        try:
            with acting_as(SYSTEM):
                await layer.log_out(person.id, login)
        except DataLayerError as error:
            logger.error("could not end a login of %s: %s", printable(person.identifier), error)

    ending: set[asyncio.Task[None]] = set()

    async def log_out(request: Request, _response: Response) -> dict[str, bool]:
        person, login = person_at(request), login_at(request)
        if person is not None and login is not None:
            task = asyncio.create_task(end(person, login), name="end-login")
            ending.add(task)
            task.add_done_callback(ending.discard)
            # If the store does not answer in time, the browser still deletes its cookie.
            await asyncio.wait({task}, timeout=_LOG_OUT_SECONDS)
        return {"success": True}

    config.code.on_logout = log_out
    config.code.password_auth_callback = by_password
    config.code.header_auth_callback = by_header if auth_header else None
    config.code.oauth_callback = by_oauth if get_configured_oauth_providers() else None
    if auth_header:
        logger.warning(
            "The header %s is trusted: a request that bypasses the proxy can log in as any user. "
            "Allow only the proxy to reach the port.",
            auth_header,
        )


def _only_value(headers: Headers, name: str) -> str | None:
    """The header's value; None if it is missing or sent twice, because one of two may come from the visitor."""
    values = headers.getlist(name)
    if len(values) != 1:
        if values:
            logger.warning("login refused: the header %s was sent %d times", name, len(values))
        return None
    try:
        return values[0].encode("latin-1").decode() or None
    except UnicodeDecodeError:
        return values[0]
