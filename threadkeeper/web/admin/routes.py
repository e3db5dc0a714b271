"""The routes below `/admin`. Each room is a module."""

from fastapi import APIRouter

from threadkeeper.web.admin import models, money, people, person, prices, start, system

router = APIRouter()
for room in (start, people, person, models, money, prices, system):
    router.include_router(room.router)
