"""What the page of one's own data needs of the data layer."""

from collections.abc import Collection
from typing import Any, Protocol

from datalayer import Account, Login, Receipt
from datalayer.accounts.shared_threads import SharedThread
from datalayer.blobs import BlobStore
from datalayer.database import Database
from datalayer.records.review import AuditPage, Satisfaction
from datalayer.records.usage import Interval


class OwnReader(Protocol):
    """The acting user's account, threads and audit."""

    database: Database

    @property
    def blobs(self) -> BlobStore: ...

    async def get_account(self, identifier: str) -> Account | None: ...

    async def list_logins(self) -> list[Login]: ...

    async def end_login(self, login_id: str) -> None: ...

    async def end_logins(self) -> None: ...

    async def who_looked(self, *, cursor: str | None = None, limit: int = 50) -> AuditPage: ...

    async def shared_threads(self) -> list[SharedThread]: ...

    async def names_of_threads(self, thread_ids: Collection[str]) -> dict[str, str]: ...

    async def update_thread(
        self,
        thread_id: str,
        name: str | None = None,
        user_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        tags: list[str] | None = None,
    ) -> None: ...

    async def get_thread_author(self, thread_id: str) -> str: ...

    async def delete_user(self, identifier: str) -> Receipt: ...

    async def satisfaction(
        self, since: str, until: str, interval: Interval, zone: str, *, split_by: str | None = None
    ) -> list[Satisfaction]: ...
