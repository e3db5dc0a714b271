"""What the library stores, as dataclasses: one file a family, and nothing above them is imported."""
