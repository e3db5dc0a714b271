"""The routes below `/admin`. Each room is a module."""

from fastapi import APIRouter

from threadkeeper.web.admin import people, person, start, system

router = APIRouter()
for room in (start, people, person, system):
    router.include_router(room.router)
