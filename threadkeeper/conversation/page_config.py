"""Chainlit's page configuration from the settings: accepted files, public address, and the demo notice."""

import os

from chainlit.config import HeaderLink, config

from threadkeeper.chat.attachments.types import accepted_uploads
from threadkeeper.chat.wording import say
from threadkeeper.settings.root_path import root_path, under_root
from threadkeeper.settings.settings import Settings


def configure_page(settings: Settings) -> None:
    """Change Chainlit's configuration. A second call changes nothing."""
    uploads = config.features.spontaneous_file_upload
    if uploads is not None:
        uploads.accept = accepted_uploads(settings.attachment_kinds, vision=settings.openai_vision)
        uploads.max_files = settings.attachment_max_files
        uploads.max_size_mb = settings.attachment_max_megabytes
    ui, root = config.ui, root_path()
    # Link previews must name the public address.
    address = os.environ.get("CHAINLIT_URL", "").rstrip("/")
    if address or root:
        ui.custom_meta_url = f"{address}{root}/"
        ui.custom_meta_image_url = f"{address}{root}/public/preview.png"
    if settings.demo:
        label = say("demo_header", config.ui.language)
        demo = HeaderLink(name="demo", display_name=label, icon_url="/favicon", url="/", target="_self")
        others = [link for link in ui.header_links or [] if link.name != demo.name]
        ui.header_links = [demo, *others]
    # Chainlit's page adds the root path to its own addresses and to icons in /public, but to none of these.
    for link in ui.header_links or []:
        link.url = under_root(link.url, root)
        if not link.icon_url.startswith("/public"):
            link.icon_url = under_root(link.icon_url, root)
    for name in ("login_page_image", "logo_file_url", "default_avatar_file_url"):
        if address := getattr(ui, name):
            setattr(ui, name, under_root(address, root))
