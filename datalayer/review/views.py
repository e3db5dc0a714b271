"""Saved views: named filters, private to a reviewer or shared with all reviewers."""

import uuid

from sqlalchemy import delete, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_id, clean_text, utc_now
from datalayer.errors import AlreadyExists, InvalidRecord
from datalayer.records.review import SavedView
from datalayer.review import access
from datalayer.review.base import ReviewStore
from datalayer.schema.chat import users
from datalayer.schema.review import review_views
from datalayer.writes.repeats import removal

LONGEST_NAME = 200
LONGEST_QUERY = 8_000


class SavedViews(ReviewStore):
    """Methods of saved views. They raise Forbidden if the acting user is no reviewer."""

    async def list_views(self) -> list[SavedView]:
        """The acting reviewer's views and the shared views of others, by name."""

        async def find(connection: AsyncConnection, reviewer: access.Reviewer) -> list[SavedView]:
            view = review_views.c
            statement = (
                select(view.id, view.name, view.query, users.c.identifier, view.isShared, view.createdAt)
                .join(users, users.c.id == view.ownerId)
                .where(or_(view.isShared, view.ownerId == reviewer.id))
                .order_by(view.name, view.id)
            )
            return [SavedView(*row) for row in await connection.execute(statement)]

        return await self._read_as_reviewer(find)

    async def put_view(self, name: str, query: str, *, is_shared: bool = False) -> SavedView:
        """Save a view under a new name.

        Args:
            name: at most 200 characters.
            query: the query string of the list's URL, at most 8,000 characters.
            is_shared: whether every reviewer sees it.

        Raises:
            AlreadyExists: the acting reviewer has a view of this name, which stays as it is.
            InvalidRecord: the name is empty, or name or query is too long.
        """
        cleaned_name, cleaned_query = clean_text(name).strip(), clean_text(query)
        if not cleaned_name or len(cleaned_name) > LONGEST_NAME or len(cleaned_query) > LONGEST_QUERY:
            raise InvalidRecord(
                f"a view needs a name of 1 to {LONGEST_NAME} characters and a query of at most {LONGEST_QUERY:,}"
            )

        view_id, now = str(uuid.uuid4()), utc_now()

        async def put(connection: AsyncConnection, reviewer: access.Reviewer) -> SavedView:
            owner_id, owner = reviewer.named
            view = SavedView(view_id, cleaned_name, cleaned_query, owner, is_shared, now)
            values = {
                "id": view.id,
                "ownerId": owner_id,
                "name": cleaned_name,
                "query": cleaned_query,
                "isShared": is_shared,
            }
            statement = (
                self._dialect.insert(review_views)
                .values(**values, createdAt=view.created_at)
                .on_conflict_do_nothing(index_elements=[review_views.c.ownerId, review_views.c.name])
            )
            if not (await connection.execute(statement)).rowcount:
                raise AlreadyExists(f"the view {cleaned_name!r} exists already: choose another name or remove it first")
            return view

        async def is_there(connection: AsyncConnection) -> bool:
            one = select(review_views.c.id).where(review_views.c.id == view_id)
            return (await connection.execute(one)).first() is not None

        return await self._write_as_reviewer(put, is_done=is_there)

    async def remove_view(self, view_id: str) -> bool:
        """Remove one of the acting reviewer's own views; False if there is none."""
        known = clean_id(view_id, "view id")

        async def remove(connection: AsyncConnection, reviewer: access.Reviewer) -> bool:
            own = review_views.c.id == known, review_views.c.ownerId == reviewer.named[0]
            return bool((await connection.execute(delete(review_views).where(*own))).rowcount)

        return await self._write_as_reviewer(removal(remove))
