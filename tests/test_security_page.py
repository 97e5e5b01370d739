"""Every promise of SECURITY.md names a test that is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_each_promise_names_a_test() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|") and "---" not in line][1:]
    assert len(rows) > 10
    for row in rows:
        tests = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row)
        assert tests, f"no test holds this: {row}"
        for file, name in tests:
            assert (ROOT / file).is_file(), file
            if name:
                assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), name


def test_the_readme_links_it() -> None:
    assert "(SECURITY.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
