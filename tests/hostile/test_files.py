"""Small files from strangers: counts, corpora, tables, masks, settings.

Each is refused in one line or read, in seconds and a bounded memory, whatever it says.
"""

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest
import torch

from tests.hostile import fuzz
from vxdist.arguments import read_yaml
from vxdist.config import CorpusConfig
from vxdist.corpus import load_corpus
from vxdist.corpus.importing import rows
from vxdist.corpus.importing.apart import read_workbook
from vxdist.corpus.importing.rows import read_jsonl, read_parquet
from vxdist.corpus.importing.tables import read_csv
from vxdist.errors import UserError
from vxdist.importing.lape import read_lape
from vxdist.limits import limited
from vxdist.yaml_text import NotYaml, load_yaml
from vxstore.mask_file import MASK_FORMAT, read_mask

ONES = torch.ones(3, 40, dtype=torch.int32)
STORY = {"pair": "p", "value": "calm", "language": "en", "dilemma": "Which?"}
ROWS = [
    STORY | {"id": f"i{n}", "pair": f"p{n}", "stance": "aligned", "choice": "a", "rationale": "b"}
    for n in range(20)
]
MASK = {
    "format": MASK_FORMAT, "format_version": 1, "model": "m", "model_fingerprint": "f",
    "layers": 3, "neurons": 40, "masks": {"calm": {"en": {"0": [1, 2, 3], "2": [39]}}},
}  # fmt: skip
YAML = "model: {path: m, dtype: float32}\ncorpus: &c {values: [a, b]}\nreduce: {fdr: 0.1, x: *c}\n"
CSV = "id,text,value\n" + "".join(f'{n},"a, text {n}",calm\n' for n in range(50))


def saved(**settings: Any) -> bytes:
    file = io.BytesIO()
    torch.save({"over_zero": ONES, "n": 1000}, file, **settings)
    return file.getvalue()


def lines(of: Iterable[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in of).encode()


def parquet() -> bytes:
    file = io.BytesIO()
    texts = [f"story {n}" for n in range(200)]
    pyarrow.parquet.write_table(pyarrow.table({"text": texts, "n": list(range(200))}), file)
    return file.getvalue()


def read_stories(file: Path) -> str:
    return str(len(load_corpus(CorpusConfig(path=str(file.parent))).activation))


def read_counts(file: Path) -> str:
    """Whatever is read may be counted: in bounds, and not of a giant made of one number."""
    counts = read_lape(file)
    assert counts.active_count_LN.min() >= 0
    assert counts.active_count_LN.nbytes <= file.stat().st_size
    return str(counts.active_count_LN.sum())


KINDS: dict[str, tuple[str, Callable[[], bytes], Callable[[Path], object], Any]] = {
    "counts": ("a.pt", saved, read_counts, (fuzz.mutate,)),
    "counts of old torch": (
        "a.pt", lambda: saved(_use_new_zipfile_serialization=False), read_counts, (fuzz.mutate,)
    ),
    "corpus": ("activation.jsonl", lambda: lines(ROWS), read_stories, (fuzz.mutate,)),
    "table of JSON": (
        "a.jsonl", lambda: lines(ROWS), lambda f: list(read_jsonl(f, "utf-8")), (fuzz.mutate,)
    ),
    "CSV": ("a.csv", CSV.encode, lambda f: list(read_csv(f, "utf-8")), (fuzz.mutate,)),
    "Parquet": ("a.parquet", parquet, lambda f: list(read_parquet(f)), (fuzz.mutate,)),
    "mask": (
        "a.json", lambda: json.dumps(MASK).encode(),
        lambda f: read_mask(str(f), value="calm", language="en", shape_LN=(3, 40)).sum(),
        (fuzz.mutate, fuzz.mutate_json),
    ),
    "settings": ("a.yaml", YAML.encode, lambda f: read_yaml(str(f)), (fuzz.mutate,)),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files(kind: str, tmp_path: Path, soak: int) -> None:
    name, make, read, mutations = KINDS[kind]
    number = fuzz.count(soak)
    (tmp_path / name).write_bytes(make())
    read(tmp_path / name)
    files = fuzz.make_files(
        tmp_path / "m", make(), number, seed=soak, name=name, mutations=mutations
    )
    # Faults of a corpus are listed, the first twenty.
    found = fuzz.judge(
        files, read, most_lines=1 if name in ("a.pt", "a.json", "a.yaml", "a.parquet") else 22
    )
    assert [told for kind, told in found if kind == fuzz.FAILED] == []
    assert fuzz.REFUSED in {kind for kind, _ in found}


def workbook(file: Path, **cells: Any) -> Path:
    book = openpyxl.Workbook()
    for place, cell in cells.items():
        book.active[place] = cell  # type: ignore[index]
    book.save(file)
    return file


def test_mutated_workbooks(tmp_path: Path, soak: int) -> None:
    content = workbook(tmp_path / "a.xlsx", A1="text", A2="a story", B1="n", B2=3).read_bytes()
    number = 3 if soak < 2 else fuzz.count(soak)
    files = fuzz.make_files(tmp_path / "m", content, number, seed=soak, name="a.xlsx")
    found = fuzz.judge(files, read_workbook, memory=8 << 30)
    assert [told for kind, told in found if kind == fuzz.FAILED] == []


def test_a_workbook_that_declares_a_giant(tmp_path: Path) -> None:
    far = workbook(tmp_path / "far.xlsx", XFD1048576="x")
    with pytest.raises(UserError, match=r"more than 50,000,000 cells|GiB of memory") as refusal:
        read_workbook(far)
    assert "\n" not in str(refusal.value)


@pytest.mark.long
def test_a_workbook_that_unpacks_to_a_giant(tmp_path: Path) -> None:
    packed = workbook(tmp_path / "a.xlsx", A1="text")
    cell = '<row r="{0}"><c r="A{0}" t="inlineStr"><is><t>{1}</t></is></c></row>'
    head = (
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
    )
    text = head + "".join(cell.format(n, "x" * 3_000_000) for n in range(1, 71))
    with (
        zipfile.ZipFile(packed) as old,
        zipfile.ZipFile(tmp_path / "b.xlsx", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            sheet = f"{text}</sheetData></worksheet>".encode()
            new.writestr(name, sheet if name.endswith("sheet1.xml") else old.read(name))
    assert (tmp_path / "b.xlsx").stat().st_size < 1_000_000
    with pytest.raises(UserError, match="more than 200,000,000 characters"):
        read_workbook(tmp_path / "b.xlsx")


def test_a_text_that_a_table_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LARGEST", 10_000_000)
    one = pyarrow.array(["y" * 1_000_000]).dictionary_encode()
    table = pyarrow.table({"text": one.take(pyarrow.array([0] * 20_000))})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 100_000
    monkeypatch.setattr(rows, "BATCH", 10)
    with pytest.raises(UserError, match="unpacks to more than 10,000,000 bytes"):
        list(read_parquet(tmp_path / "a.parquet"))


def test_counts_of_a_giant(tmp_path: Path) -> None:
    """A step of zero makes ten milliards of one number, and zeros pack well."""
    giant = torch.as_strided(ONES, (100_000, 100_000), (0, 0))
    torch.save({"over_zero": giant, "n": 1000}, tmp_path / "a.pt")
    with (
        zipfile.ZipFile(io.BytesIO(saved())) as old,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, bytes(1 << 26) if name.endswith("data/0") else old.read(name))
    with (tmp_path / "c.pt").open("wb") as file:
        file.truncate(1 << 40)
    os.mkfifo(tmp_path / "d.pt")
    told = ["found int32", "or damaged", "has 1,099,511,627,776 bytes", "is no ordinary file"]
    files = [tmp_path / f"{name}.pt" for name in "abcd"]
    found = fuzz.judge(files, read_counts)
    assert [kind for kind, _ in found] == [fuzz.REFUSED] * 4, found
    assert all(some in line for some, (_, line) in zip(told, found, strict=True)), found


def test_a_line_of_a_gigabyte(tmp_path: Path) -> None:
    """Sparse, so that it takes no disk; it is refused before it is in memory."""
    for name in ("line", "file"):
        folder = tmp_path / name
        folder.mkdir()
        with (folder / "activation.jsonl").open("wb") as file:
            file.write(lines(ROWS))
            file.truncate((1 << 30) if name == "line" else (1 << 40))
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "activation.jsonl")
    files = [tmp_path / name / "activation.jsonl" for name in ("line", "file", "pipe")]
    found = fuzz.judge(files, read_stories, memory=256 << 20)
    assert [kind for kind, _ in found] == [fuzz.REFUSED] * 3, found
    assert f"{files[0]}:21: a line of more than 16,777,216 bytes" in found[0][1]
    assert "has 1,099,511,627,776 bytes" in found[1][1]


HARMFUL_YAML = (
    "[" * 2_000,
    "a: &a [1, 2]\n" + "".join(f"b{n}: &b{n} [*{f'b{n - 1}' if n else 'a'}, *a]\n" * 2
                               for n in range(99)),
    "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n"
                                 for n in range(1, 12)),
    "a: &a [*a]",
    "!!python/object/apply:os.system [ls]",
    f"x: {'9' * 5000}",
    "2026-13-45",
    "? [a]\n: b",
    "x" * 300_000,
)  # fmt: skip


@pytest.mark.parametrize("text", HARMFUL_YAML)
def test_harmful_yaml(text: str) -> None:
    with limited("YAML", seconds=5), pytest.raises(NotYaml) as refusal:
        load_yaml(text)
    assert "\n" not in str(refusal.value)


def test_a_mask_with_a_neuron_twice(tmp_path: Path) -> None:
    """Which it is, is not sought among all pairs of a million."""
    many = [*range(39), *range(39)] * 10_000
    masks = {"calm": {"en": {"0": many}}}
    (tmp_path / "a.json").write_text(json.dumps(MASK | {"masks": masks}))
    with limited("mask", seconds=5), pytest.raises(UserError, match="duplicate neuron"):
        read_mask(str(tmp_path / "a.json"), value="calm", language="en", shape_LN=(3, 40))


def run_for_ever() -> None:
    while True:
        pass


def test_limits() -> None:
    with pytest.raises(UserError, match="it: did not end within"), limited("it", seconds=0.1):
        run_for_ever()
    with (
        pytest.raises(UserError, match="it: asks for more than 1 GiB"),
        limited("it", seconds=60, memory=1 << 30),
    ):
        bytes(2 << 30)
    assert len(bytes(2 << 30)) == 2 << 30, "the bound ends with the block"
