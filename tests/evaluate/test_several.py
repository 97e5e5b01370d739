"""Several outcomes in one run: the same as each alone, with one model and one loop."""

from pathlib import Path
from typing import Any

import pytest

import vxstore
from vxdist.cli import main

ALL = "choice,likelihood,harm,answers"
FEW = ("--evaluate.answers.max_new_tokens", "3", "--evaluate.answers.dilemmas", "1")


def load(path: Path, name: str) -> Any:
    return vxstore.open(str(path / "run.zarr")).evaluation(name).load()


def test_several_are_what_each_is_alone(
    reduced: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vxdist.runtime import loop

    real, loads = loop.load_model, []

    def load_model(*of: Any) -> Any:
        loads.append(of)
        return real(*of)

    monkeypatch.setattr(loop, "load_model", load_model)
    assert main(["evaluate", *reduced, *FEW, "--evaluate.outcome", ALL]) == 0
    assert len(loads) == 1
    names = ALL.split(",")
    store = vxstore.open(str(tmp_path / "run.zarr"))
    assert set(store.names("evaluation")) == set(names)
    for name in names:
        alone = [*reduced, *FEW, "--evaluate.outcome", name, "--evaluate.name", f"only-{name}"]
        assert main(["evaluate", *alone]) == 0
        together, apart = load(tmp_path, name), load(tmp_path, f"only-{name}")
        assert together.equals(apart), name
