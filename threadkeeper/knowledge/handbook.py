"""The sample assistant that the first start makes: it answers from Threadkeeper's own documentation."""

from __future__ import annotations

import asyncio
import logging
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from datalayer.ownership import SYSTEM, acting_as
from datalayer.records.assistants import AssistantSettings
from datalayer.records.knowledge import DataSource
from threadkeeper.knowledge.acts import start_training

if TYPE_CHECKING:
    from datalayer.chainlit_layer import ChainlitLayer

logger = logging.getLogger(__name__)

SLUG = "handbook"
PAGES = (
    "README.md",
    "docs/handbook_zh-CN.md",
    "docs/admin.md",
    "docs/adopting.md",
    "docs/assistants.md",
    "docs/fetching.md",
    "docs/files.md",
    "docs/import.md",
    "docs/knowledge.md",
    "docs/models.md",
    "docs/operation.md",
    "docs/postgres.md",
    "docs/promises.md",
    "docs/review.md",
    "docs/settings.md",
    "docs/threads.md",
    "docs/usage.md",
)
SETTINGS = AssistantSettings(
    name="Threadkeeper's own handbook",
    description="Answers questions about Threadkeeper from its documentation. 根据使用手册回答问题。",
    type="qa",
    prompt=(
        "You answer questions about Threadkeeper, a self-hosted chat. Answer in the language of the question, from the "
        "numbered passages alone, and cite them as [1]. If they do not answer the question, say so.\n\n"
        "Passages:\n\n{context}\n\nQuestion: {question}"
    ),
    temperature=0.2,
    idk="The handbook does not answer this. 手册里没有这个问题的答案。",
    opening_prompts=("How do I add a user?", "Where are my files stored?", "怎样添加用户？", "怎样备份数据？"),
)


async def create_handbook(layer: ChainlitLayer, checkout: Path) -> bool:
    """Make the assistant for everyone, and start its training as a job.

    Args:
        layer: stores it.
        checkout: the folder with README.md and `docs/`.

    Returns:
        False if the pages are not there, because only the packages are installed.

    Raises:
        AlreadyExists: there is an assistant of this slug.
        DataLayerError: it cannot be stored.
    """
    try:
        pages = await asyncio.to_thread(lambda: [(name, (checkout / name).read_bytes()) for name in PAGES])
    except OSError as error:
        logger.info("the sample assistant is not made: %s", error)
        return False
    with acting_as(SYSTEM):
        await layer.create_assistant(SETTINGS, slug=SLUG)
        for name, content in pages:
            await layer.put_source(DataSource(str(uuid.uuid4()), SLUG, "file", name), content, "text/markdown")
        await start_training(layer, SLUG)
    return True
