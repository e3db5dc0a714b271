"""What Chainlit's page is told of the settings: which files it takes, its address, and that a demo is one."""

import os

from chainlit.config import HeaderLink, config

from threadkeeper.chat.attachments.types import accepted_uploads
from threadkeeper.chat.wording import say
from threadkeeper.settings.settings import Settings


def configure_page(settings: Settings) -> None:
    """Change Chainlit's configuration, in which the page finds all this. Doing it again changes nothing more."""
    uploads = config.features.spontaneous_file_upload
    if uploads is not None:
        uploads.accept = accepted_uploads(settings.attachment_kinds, vision=settings.openai_vision)
        uploads.max_files = settings.attachment_max_files
        uploads.max_size_mb = settings.attachment_max_megabytes
    if address := os.environ.get("CHAINLIT_URL", "").rstrip("/"):
        # What a link's preview is made of must name the address that others see.
        config.ui.custom_meta_url = f"{address}/"
        config.ui.custom_meta_image_url = f"{address}/public/preview.png"
    if settings.demo:
        label = say("demo_header", config.ui.language)
        demo = HeaderLink(name="demo", display_name=label, icon_url="/favicon", url="/", target="_self")
        others = [link for link in config.ui.header_links or [] if link.name != demo.name]
        config.ui.header_links = [demo, *others]
