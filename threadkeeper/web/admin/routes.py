"""The routes below `/admin`. Each room is a module."""

from fastapi import APIRouter

from threadkeeper.web.admin import (
    limits,
    models,
    money,
    people,
    person,
    price_list,
    prices,
    projects,
    repricing,
    start,
    system,
)

router = APIRouter()
for room in (start, people, person, models, money, prices, price_list, limits, repricing, projects, system):
    router.include_router(room.router)
