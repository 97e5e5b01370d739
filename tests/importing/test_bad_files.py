"""What unfit count files get: one line that names file and key, exit code 2, no store, no code."""

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vxdist.cli import main

torch = pytest.importorskip("torch")

MakeFile = Callable[..., str]
Refused = Callable[..., str]
ONES = torch.ones(3, 40, dtype=torch.int32)


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("kind", ["torch", "old torch", "pickle"])
def test_a_file_with_code_in_it_runs_none(
    refused: Refused, tmp_path: Path, kind: str, recwarn: pytest.WarningsRecorder
) -> None:
    file, mark = tmp_path / "evil.pt", tmp_path / "was-run"
    content = {"over_zero": ONES, "token_num": 1000, "more": Evil(mark)}
    if kind == "pickle":
        file.write_bytes(pickle.dumps(content["more"]))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=kind == "torch")
    line = refused(str(file))
    assert not recwarn.list
    assert str(file) in line
    assert not mark.exists()
    if kind != "pickle":
        assert "expected only tensors and plain numbers; no code in it was run" in line
        torch.load(file, weights_only=False)  # the trap itself works
    else:
        pickle.loads(file.read_bytes())
    assert mark.exists()


@pytest.mark.parametrize("content", [b"", b"over_zero", b"PK\x03\x04" + bytes(100), bytes(4096)])
def test_files_that_torch_did_not_save(refused: Refused, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.pt"
    file.write_bytes(content)
    assert f"{file}: not written by torch.save" in refused(str(file))


def test_a_file_cut_short(refused: Refused, make_file: MakeFile) -> None:
    file = Path(make_file("a.pt"))
    file.write_bytes(file.read_bytes()[:-200])
    assert "or damaged" in refused(str(file))


def test_files_that_are_not_there(refused: Refused, tmp_path: Path) -> None:
    assert f"{tmp_path}/a.pt: No such file" in refused(str(tmp_path / "a.pt"))
    assert "Is a directory" in refused(str(tmp_path))


def test_what_is_no_dictionary(refused: Refused, tmp_path: Path) -> None:
    torch.save([ONES], tmp_path / "a.pt")
    assert "found list, expected a dictionary with over_zero" in refused(str(tmp_path / "a.pt"))
    torch.save(ONES, tmp_path / "a.pt")
    assert "found int32 [3, 40], expected a dictionary" in refused(str(tmp_path / "a.pt"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"over_zero": None}, "over_zero: found no such key, expected integers [layers, neurons]"),
        ({"over_zero": [[1, 2]]}, "over_zero: found list"),
        ({"over_zero": ONES.float()}, "over_zero: found float32 [3, 40]"),
        ({"over_zero": ONES.bool()}, "over_zero: found bool [3, 40]"),
        ({"over_zero": ONES[0]}, "over_zero: found int32 [40]"),
        ({"over_zero": ONES[None]}, "over_zero: found int32 [1, 3, 40]"),
        ({"over_zero": ONES[:0]}, "over_zero: found int32 [0, 40]"),
        ({"over_zero": ONES.to_sparse()}, "over_zero: found int32 [3, 40]"),
        ({"over_zero": -ONES}, "over_zero: found -1, expected counts from 0"),
        ({"over_zero": ONES.long() << 31}, "over_zero: found 2147483648, expected counts"),
        ({"over_zero": ONES * 1001}, "active on 1001 tokens, expected at most 1000"),
        ({"token_num": None}, "token_num or n: found no such key, expected it for --denominator"),
        ({"token_num": "1000"}, "token_num: found str, expected a whole number"),
        ({"token_num": True}, "token_num: found bool"),
        ({"token_num": 999.5}, "token_num: found 999.5, expected a whole number from 1"),
        ({"token_num": 0}, "token_num: found 0"),
        ({"token_num": float("nan")}, "token_num: found nan"),
        ({"token_num": 2**31}, "token_num: found 2147483648"),
        ({"token_num": torch.ones(2)}, "token_num: found float32 [2]"),
        ({"question_num": -3}, "question_num: found -3"),
        ({"n": 999}, "found token_num 1000 and n 999, expected the same number of tokens"),
    ],
)
def test_bad_contents(
    refused: Refused, make_file: MakeFile, changes: dict[str, Any], expected: str
) -> None:
    sound, bad = make_file("sound.pt", 1), make_file("bad.pt", **changes)
    line = refused(sound, bad)
    assert f"error: {bad}: " in line
    assert expected in line


def test_no_questions_to_divide_by(refused: Refused, make_file: MakeFile) -> None:
    """LAPE's own files have only numbers of tokens."""
    line = refused(make_file("a.pt", question_num=None), "--denominator", "questions")
    assert "question_num: found no such key, expected it for --denominator questions" in line


def test_files_of_two_models(refused: Refused, make_file: MakeFile) -> None:
    line = refused(make_file("a.pt"), make_file("b.pt", over_zero=ONES.T.contiguous()))
    assert "b.pt: over_zero: found shape [40, 3], expected [3, 40] as in " in line


def test_a_copy_under_another_name(refused: Refused, make_file: MakeFile, tmp_path: Path) -> None:
    """Its counts would be added twice, or make two values of one."""
    file = make_file("a.pt")
    copy = tmp_path / "b.pt"
    copy.write_bytes(Path(file).read_bytes())
    assert f"{copy}: found the same content as in {file}" in refused(file, str(copy))


def test_options(refused: Refused, make_file: MakeFile) -> None:
    file = make_file("a.pt")
    assert "argument --denominator: invalid choice: 'words'" in refused(
        file, "--denominator", "words"
    )
    assert "cannot write" in refused(file, "--store", f"{file}/s.zarr")
    assert "cannot write" in refused(file, "--store", f"{file}/s/s.zarr")
    assert "'a\\nb.pt': the file name has unprintable characters" in refused("a\nb.pt")
    assert "unrecognized arguments: --lang" in refused(file, options=("--lang", "zh"))


def test_the_denominator_is_never_guessed(
    make_file: MakeFile, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", "lape", make_file("a.pt"), "--language", "zh", "--store", store]) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert "--denominator is missing; choose what to divide by: tokens (token_num or n" in error
    assert not Path(store).exists()


def test_an_installation_without_torch(
    refused: Refused, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make_file("a.pt")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "package torch is not installed; install vxdist with its extra" in refused(file)
