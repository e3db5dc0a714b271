"""What a limit is of, by the name that people and programs give."""

from datalayer.billing.billing import DEFAULT_PROJECT
from datalayer.chainlit_layer import ChainlitLayer


async def id_of_subject(layer: ChainlitLayer, scope: str, name: str) -> str | None:
    """The id of a user by the identifier, of a project by the slug, or of a key by its id or its first characters.

    The first call makes the project of the chat, but its limit holds for that call too: this makes it.
    """
    if scope == "user":
        account = await layer.get_account(name)
        return account.user.id if account else None
    if scope == "project":
        return await layer.default_project() if name == DEFAULT_PROJECT else await layer.project_id(name)
    if (key := await layer.get_api_key(name)) is not None:
        return key.id
    begin = name.removesuffix("…")
    return next((one.id for one in await layer.list_api_keys() if one.prefix == begin), None)
