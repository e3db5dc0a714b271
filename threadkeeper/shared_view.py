"""The metadata of a shared thread that readers may see, on the page and in their copies."""

SHOWN_STEP_METADATA = ("status", "icon", "cited", "sources")
"""The keys of a step's metadata that readers see."""
