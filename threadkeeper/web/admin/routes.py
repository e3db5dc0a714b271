"""The routes below `/admin`. Each room is a module."""

from fastapi import APIRouter

from threadkeeper.web.admin import people, person, start

router = APIRouter()
for room in (start, people, person):
    router.include_router(room.router)
