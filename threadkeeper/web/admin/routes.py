"""The routes below `/admin`. Each room is a module."""

from fastapi import APIRouter

from threadkeeper.web.admin import models, people, person, start, system

router = APIRouter()
for room in (start, people, person, models, system):
    router.include_router(room.router)
