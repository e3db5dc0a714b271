"""Chainlit's page configuration from the settings: accepted files, public address, and the demo notice."""

import os

from chainlit.config import HeaderLink, config

from threadkeeper.chat.attachments.types import accepted_uploads
from threadkeeper.chat.wording import say
from threadkeeper.settings.settings import Settings


def configure_page(settings: Settings) -> None:
    """Change Chainlit's configuration. A second call changes nothing."""
    uploads = config.features.spontaneous_file_upload
    if uploads is not None:
        uploads.accept = accepted_uploads(settings.attachment_kinds, vision=settings.openai_vision)
        uploads.max_files = settings.attachment_max_files
        uploads.max_size_mb = settings.attachment_max_megabytes
    if address := os.environ.get("CHAINLIT_URL", "").rstrip("/"):
        # Link previews must name the public address.
        config.ui.custom_meta_url = f"{address}/"
        config.ui.custom_meta_image_url = f"{address}/public/preview.png"
    if settings.demo:
        label = say("demo_header", config.ui.language)
        demo = HeaderLink(name="demo", display_name=label, icon_url="/favicon", url="/", target="_self")
        others = [link for link in config.ui.header_links or [] if link.name != demo.name]
        config.ui.header_links = [demo, *others]
