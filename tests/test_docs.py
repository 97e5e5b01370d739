"""The pages of docs/ print what the commands print."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from vxdist.corpus.editions import BUILTIN, builtin_folder

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))


@pytest.fixture(scope="module")
def refresh() -> Any:
    """The script that puts in what commands print."""
    spec = importlib.util.spec_from_file_location("refresh", DOCS / "refresh.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_what_is_shown_is_what_is_printed(file: Path, refresh: Any) -> None:
    page = file.read_text(encoding="utf-8")
    assert refresh.refresh(page) == page, "run `python docs/refresh.py`"


@pytest.mark.parametrize("path", BUILTIN)
def test_cards_say_what_is_measured(path: str, refresh: Any) -> None:
    card = (builtin_folder(path) / "card.yaml").read_text(encoding="utf-8")
    assert refresh.refresh_card(path) == card, "run `python docs/refresh.py`"


def test_tables_of_the_seed_follow_its_texts(refresh: Any) -> None:
    page = "<!-- measured: values -->\n| old | |\n<!-- end -->\nkept\n"
    found = refresh.refresh(page)
    assert "old" not in found
    assert "| justice | " in found
    assert found.endswith("<!-- end -->\nkept\n")


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_links_lead_somewhere(file: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", file.read_text(encoding="utf-8")):
        assert "://" in link or (file.parent / link).exists(), link
