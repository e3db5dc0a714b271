"""The address under which people reach this server, for links that an admin passes on."""

from typing import Annotated

from fastapi import Depends, Request

from threadkeeper.settings.root_path import root_path


async def _public_url(request: Request) -> str:
    public: str | None = request.state.public_url
    return (public or f"{request.url.scheme}://{request.url.netloc}").rstrip("/") + root_path()


PublicUrl = Annotated[str, Depends(_public_url)]
"""`CHAINLIT_URL`, or the address by which this request came, with the root path and without a slash at the end."""
