"""A sound corpus, and ways to put a fault into it."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vxdist.cli import main
from vxdist.config import CorpusConfig
from vxdist.corpus import Corpus, load_corpus
from vxdist.corpus.write import write_corpus


@pytest.fixture(scope="module")
def seed() -> Corpus:
    """Three values of the seed's first edition, which has no errors."""
    values = ["prosperity", "freedom", "integrity"]
    return load_corpus(CorpusConfig(path="builtin:cvoice-seed-1", values=values))


@pytest.fixture
def folder(seed: Corpus, tmp_path: Path) -> Path:
    """A copy of it on disk."""
    write_corpus(tmp_path / "c", seed.activation, seed.evaluation, seed.card)
    return tmp_path / "c"


@pytest.fixture
def change(folder: Path) -> Callable[..., None]:
    """Change fields of one item, or add a changed copy of it."""

    def put(name: str, number: int, *, add: bool = False, **fields: str) -> None:
        file = folder / name
        lines = file.read_text(encoding="utf-8").splitlines()
        item = json.dumps(json.loads(lines[number]) | fields, ensure_ascii=False)
        lines = [*lines, item] if add else [*lines[:number], item, *lines[number + 1 :]]
        file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")

    return put


@dataclasses.dataclass
class Report:
    """The JSON that the command printed, and its exit code."""

    code: int
    counts: dict[str, int]
    findings: list[dict[str, object]]
    tables: dict[str, list[dict[str, object]]]

    def messages(self, kind: str) -> list[str]:
        """Level and message of the findings of one kind."""
        return [f"{f['level']}: {f['message']}" for f in self.findings if f["kind"] == kind]


@pytest.fixture
def look(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Report]:
    """Run `vxdist corpus check` on the copy."""

    def run(*options: str, path: str | None = None) -> Report:
        code = main(["corpus", "check", path or str(folder), "--format", "json", *options])
        result = json.loads(capsys.readouterr().out)
        return Report(code, result["counts"], result["findings"], result["tables"])

    return run
