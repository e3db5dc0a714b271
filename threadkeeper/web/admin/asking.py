"""What the page of the models needs of the chat: the lists of the servers, a trial of a model, and missing prices."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Protocol

from fastapi import Depends, Request

from datalayer.records.usage import LlmCall


class ServerList(Protocol):
    """What a server offers, or the kind of its failure and its words, as `threadkeeper.chat.listing.ServerList`."""

    @property
    def use(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def models(self) -> tuple[str, ...]: ...
    @property
    def problem(self) -> str | None: ...
    @property
    def words(self) -> str: ...
    @property
    def has_deployments(self) -> bool: ...


class ListModels(Protocol):
    async def __call__(self) -> Sequence[ServerList]: ...


class TriedModel(Protocol):
    """An answer, or the kind of the failure and the words of the server, as `threadkeeper.chat.trying_models`."""

    @property
    def model(self) -> str: ...
    @property
    def question(self) -> str: ...
    @property
    def answer(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def call(self) -> LlmCall | None: ...
    @property
    def problem(self) -> str | None: ...
    @property
    def words(self) -> str: ...


class TryModel(Protocol):
    async def __call__(self, model: str, *, user_id: str, language: str) -> TriedModel: ...
    async def without_price(self, models: Iterable[str]) -> frozenset[str]: ...


async def _lists(request: Request) -> ListModels | None:
    lists: ListModels | None = request.state.list_models
    return lists


async def _trial(request: Request) -> TryModel | None:
    trial: TryModel | None = request.state.try_model
    return trial


Lists = Annotated[ListModels | None, Depends(_lists)]
Trial = Annotated[TryModel | None, Depends(_trial)]
