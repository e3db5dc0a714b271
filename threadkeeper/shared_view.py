"""What readers of a shared thread may see of it, on the page and in their own copies."""

SHOWN_STEP_METADATA = ("status", "icon")
"""The keys of a step's metadata that readers see."""
