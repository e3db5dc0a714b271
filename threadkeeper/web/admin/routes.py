"""The routes below `/admin`. Each room is a module."""

from fastapi import APIRouter

from threadkeeper.web.admin import limits, models, money, people, person, prices, projects, repricing, start, system

router = APIRouter()
for room in (start, people, person, models, money, prices, limits, repricing, projects, system):
    router.include_router(room.router)
