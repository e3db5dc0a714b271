"""The routes at `/review`, for reviewers and admins; for everyone else they do not exist."""

from fastapi import APIRouter

from threadkeeper.web.review import actions, audit, exports, inbox, queue, statistics, thread

router = APIRouter()
for part in (inbox, thread, actions, queue, statistics, exports, audit):
    router.include_router(part.router)
