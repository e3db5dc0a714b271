"""What docs/dynamodb.md has of the code."""

import re
from pathlib import Path

from datalayer.dynamodb.tables import cloud_formation


def test_the_documentation_has_the_template_of_the_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "dynamodb.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- cloudformation -->\n```json\n(.*?)\n```", page, re.DOTALL)
    assert found is not None
    assert found[1] == cloud_formation("YOUR-TABLE")
