"""FastAPI dependencies of the routes of the pages: the data layer, and the writer of pages.

`OnDemand` puts both into the state of each request. A route names what it needs in its signature.
"""

from typing import Annotated

from fastapi import Depends, Request

from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.login.accounts import Authenticator
from threadkeeper.offered_models import OfferedModels
from threadkeeper.web.pages.shell import PageWriter


async def _layer(request: Request) -> ChainlitLayer:
    layer: ChainlitLayer = request.state.layer
    return layer


async def _accounts(request: Request) -> Authenticator:
    accounts: Authenticator = request.state.accounts
    return accounts


async def _offered(request: Request) -> OfferedModels:
    offered: OfferedModels = request.state.offered_models
    return offered


async def _pages(request: Request) -> PageWriter:
    pages: PageWriter = request.state.pages
    return pages


Accounts = Annotated[Authenticator, Depends(_accounts)]
Layer = Annotated[ChainlitLayer, Depends(_layer)]
Offered = Annotated[OfferedModels, Depends(_offered)]
Pages = Annotated[PageWriter, Depends(_pages)]
