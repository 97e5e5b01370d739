"""A reader written from store/FORMAT.md alone, with plain zarr."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

READER = """
import hashlib, json, pathlib, sys
import numpy as np, zarr

path = pathlib.Path(sys.argv[1])
text = (path / "zarr.json").read_bytes()
about = json.loads(text)["attributes"]
version = about["format_version"]
assert about["format"] == "vxstore" and version <= 3
experts = about.get("num_experts", 0)
assert version == 3 or bool(experts) == (version == 2)
old = version < 3
assert about["state"] == "complete"
own = about["metadata_digest"].encode()
assert hashlib.sha256(text.replace(own, b"0" * 64)).hexdigest() == own.decode()
for name, digest in about["metadata_digests"].items():
    assert hashlib.sha256((path / name).read_bytes()).hexdigest() == digest, name

root = zarr.open_group(path, mode="r", zarr_format=3)
record = root["record"]
assert record["sealed"][:].all()
assert not (root["token_count"][:] < 0).any()
values, languages = list(root["value"][:]), list(root["language"][:])
part_value, part_language = (
    record[name if old else "part_" + name][:] for name in ("value", "language")
)
total = np.zeros(root["active_count"].shape, dtype="int64")
tokens = np.zeros((len(values), len(languages)), dtype="int64")
given = np.zeros(total.shape, dtype="int64")  # what active counts are divided by
for part in range(record["sealed"].shape[0]):
    cell = values.index(part_value[part]), languages.index(part_language[part])
    count = record["active_count"][part]
    assert record["active_count"].shards == (1, *count.shape)
    seen = np.full(count.shape, record["token_count"][part])
    if experts:
        routed = record["routed_count"][part]
        assert record["routed_count"].shards == (1, len(count), experts)
        assert (routed.sum(-1) == about["experts_per_token"] * seen[:, 0]).all()
        seen = routed[:, record["expert"][:]]
    given[:, :, cell[0], cell[1]] += seen
    assert (count >= 0).all() and (count <= seen).all()
    total[:, :, cell[0], cell[1]] += count
    tokens[cell] += record["token_count"][part]
assert (total == root["active_count"][:]).all() and (tokens == root["token_count"][:]).all()
if experts:
    units = total.shape[1] // experts
    assert (root["expert"][:] * units + root["unit"][:] == root["neuron"][:]).all()
    assert (given == root["routed_count"][:][:, root["expert"][:]]).all()

for group in (root, record, root["scores/vape"]):
    for name, array in group.arrays():
        dims = array.metadata.dimension_names
        assert len(dims) == array.ndim and array.attrs["long_name"]
        assert all(group[dim].shape == (n,) for dim, n in zip(dims, array.shape) if dim in group)
        last = array.metadata.to_dict()["codecs"][-1]
        last = last["configuration"]["codecs"][-1] if last["name"] == "sharding_indexed" else last
        assert last["name"] == "crc32c", name
        if group is not root and not old:  # what has a name of the root's is the same
            for dim, n in zip(dims, array.shape):
                assert dim not in root or root[dim].shape == (n,), (name, dim)
            assert name not in dims or name not in root or (array[:] == root[name][:]).all(), name
        if array.dtype.kind == "i" and name not in dims:
            by = {"neuron": -(2**31), "routed_expert": -(2**30)}
            fill = -1 if old else min((by.get(dim, -1) for dim in dims), default=-1)
            assert array.fill_value == fill or name in ("expert", "unit"), name
scores = root["scores/vape"]
at = list(scores["language" if old else "scored_language"][:]).index("pooled")
total, given = total.sum(-1), given.sum(-1)
p = np.divide(total, given, out=np.full(total.shape, np.nan), where=given > 0)
assert np.allclose(scores["activation_probability"][..., at], p, equal_nan=True)
unrouted = np.isnan(p).any(-1)
assert experts or not unrouted.any()
if experts and unrouted.any():
    assert scores.attrs["thresholds"]["pooled"]["unrouted_count"] == unrouted.sum()
q = p / p.sum(-1, keepdims=True)
with np.errstate(divide="ignore", invalid="ignore"):
    entropy = -np.where(q > 0, q * np.log(q), 0).sum(-1)
entropy[unrouted | ~total.any(-1)] = np.nan
assert np.allclose(scores["entropy"][..., at], entropy, equal_nan=True)
assert not scores["passed_filter"][..., at][unrouted].any()
if "evaluation" in root:
    evaluation = root["evaluation/choice"]
    effect = evaluation["effect"]
    of = effect["mean_shift"].metadata.dimension_names
    assert of == ("mask", "value" if old else "dilemma_value", "language")
    labels = evaluation["value" if old else "dilemma_value"]
    assert set(labels[:]) >= set(effect[of[1]][:])
    assert labels.metadata.dimension_names == ("dilemma",)
    assert evaluation["sealed"][:].all() and list(evaluation["kind"][:])[0] == "intact"
assert "vxstore" not in sys.modules
active = int(root["active_count"][:].sum())
print(json.dumps({"values": values, "languages": languages, "active": active}))
"""


def read_plainly(path: str) -> dict[str, Any]:
    """What the reader says of a store."""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", READER, path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("num_experts", [0, 3])
def test_a_reader_written_from_the_page(
    make_store: Callable[..., str], add_evaluation: Callable[[str], None], num_experts: int
) -> None:
    from vxdist.reduce.score import write_score
    from vxdist.reduce.selectors.vape import Vape, VapeSettings
    from vxstore.read import open_store

    path = make_store(num_experts=num_experts)
    settings = VapeSettings(
        filter_quantile=0.5,
        top_fraction=0.2,
        activation_quantile=0.5,
        min_active_tokens=1,
    )
    write_score(path, "vape", Vape(settings))
    add_evaluation(path)
    unrouted = (
        open_store(path).scores("vape").attrs["thresholds"]["pooled"].get("unrouted_count", 0)
    )
    assert bool(unrouted) == bool(num_experts)
    root = open_store(path).root()
    told = read_plainly(path)
    assert told["values"] == [str(v) for v in root.value.values]
    assert told["active"] == int(root.active_count.sum())


@pytest.mark.parametrize(
    ("name", "active"), [("format2", 379), ("format3", 745), ("format3_experts", 379)]
)
def test_a_witness_of_each_format(name: str, active: int) -> None:
    path = Path(__file__).parents[1] / "data" / f"{name}.zarr"
    told = read_plainly(str(path))
    assert told == {"values": ["calm", "zeal"], "languages": ["zh", "en"], "active": active}


def test_the_page_names_every_array_and_attribute(make_store: Callable[..., str]) -> None:
    """What is in a store is on the page."""
    from vxdist.asking.outcomes.choice import Choice
    from vxdist.reduce.selectors.vape import Vape
    from vxstore.dose import DOSE
    from vxstore.effect_arrays import EARLIER_EFFECT, EFFECT
    from vxstore.experts import ROUTED_RECORD, ROUTED_ROOT
    from vxstore.names import RENAMED
    from vxstore.schema import EVALUATION, RECORD, ROOT, SCORES

    of_components = (*Vape.arrays, *Choice.arrays)

    page = (Path(__file__).parents[2] / "store" / "FORMAT.md").read_text(encoding="utf-8")
    path = Path(make_store(num_experts=3))
    attrs = json.loads((path / "zarr.json").read_text())["attributes"]
    names = [file.parent.name for file in path.rglob("c")]
    renamed = [name for of in RENAMED.values() for pair in of.items() for name in pair]
    of_experts = (*ROUTED_ROOT, *ROUTED_RECORD)
    for name in (
        *ROOT,
        *RECORD,
        *of_experts,
        *SCORES,
        *EVALUATION,
        *EFFECT,
        *EARLIER_EFFECT,
        *DOSE,
        *of_components,
        *attrs,
        *names,
        *renamed,
    ):
        assert f"`{name}`" in page, name


def test_the_digest_is_of_the_file_without_it(make_store: Callable[..., str]) -> None:
    text = (Path(make_store()) / "zarr.json").read_bytes()
    own = json.loads(text)["attributes"]["metadata_digest"].encode()
    assert hashlib.sha256(text.replace(own, b"0" * 64)).hexdigest().encode() == own
    assert next(iter(json.loads(text)["attributes"])) == "metadata_digest"
