"""The Kubernetes files against the schemas of what reads them, and what they start against vxdist.

The schemas are those of Kubeflow Trainer's own Python models, which hold JobSet's and the core's.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubeflow_trainer_api.models as schemas
import pytest
import yaml
from yamllint import linter
from yamllint.config import YamlLintConfig

from vxdist.settings import parse

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "launch" / "kubernetes"
STYLE = YamlLintConfig("{extends: default, rules: {line-length: {max: 100}}}")
SCHEMAS = {
    ("v1", "PersistentVolumeClaim"): schemas.IoK8sApiCoreV1PersistentVolumeClaim,
    ("trainer.kubeflow.org/v1alpha1", "TrainJob"): schemas.TrainerV1alpha1TrainJob,
    ("jobset.x-k8s.io/v1alpha2", "JobSet"): schemas.JobsetV1alpha2JobSet,
}

Document = dict[str, Any]


@pytest.fixture(params=["locate.yaml", "locate-jobset.yaml"])
def file(request: pytest.FixtureRequest) -> Path:
    """Each file in turn."""
    return FOLDER / str(request.param)


def read(file: Path, stage: str = "locate") -> tuple[Document, Document]:
    """The claim and the job; of another stage, as the file says it is made."""
    claim, job = yaml.safe_load_all(file.read_text().replace("locate", stage))
    return claim, job


def as_understood(document: Document) -> Document:
    """What is left of a document when its schema has read it: without the keys it does not know."""
    schema = SCHEMAS[document["apiVersion"], document["kind"]]
    understood: Document = schema.from_dict(document).to_dict()
    return understood


def container_of(job: Document) -> Document:
    """What starts torchrun: command, args and env."""
    if job["kind"] == "TrainJob":
        trainer: Document = job["spec"]["trainer"]
        return trainer
    (container,) = pod_of(job)["containers"]
    assert isinstance(container, dict)
    return container


def pod_of(job: Document) -> Document:
    """The pod's spec, or the patch of it."""
    spec = job["spec"]
    if job["kind"] == "TrainJob":
        (patch,) = spec["runtimePatches"]
        spec = patch["trainingRuntimeSpec"]["template"]["spec"]
    (replicated,) = spec["replicatedJobs"]
    assert replicated["name"] == "node"
    pod: Document = replicated["template"]["spec"]["template"]["spec"]
    return pod


def keys(document: Any) -> Iterator[tuple[Document, str]]:
    """Every mapping in a document, with one of its keys."""
    if isinstance(document, dict):
        yield from ((document, key) for key in list(document))
    for inner in document.values() if isinstance(document, dict) else document:
        if isinstance(inner, dict | list):
            yield from keys(inner)


def test_well_formed(file: Path) -> None:
    """No key twice, and nothing else that a reader would trip over."""
    assert list(linter.run(file.read_text(), STYLE)) == []


def test_every_key_is_known(file: Path) -> None:
    for document in read(file):
        assert as_understood(document) == document


def test_what_is_commented_out_is_as_good() -> None:
    """The lines for InfiniBand and several networks, with their # taken away."""
    text = (FOLDER / "locate-jobset.yaml").read_text()
    text, number = re.subn(
        r"^( +)# (- \{|securityContext|rdma|metadata:| +annotations)", r"\1\2", text, flags=re.M
    )
    assert number == 8
    _, job = yaml.safe_load_all(text)
    assert as_understood(job) == job
    assert container_of(job)["env"][0] == {"name": "NCCL_SOCKET_IFNAME", "value": "eth0"}


def test_a_mistyped_key_is_seen(file: Path) -> None:
    """Of any key but the names of labels, resources and the like, which are free."""
    free = {"limits", "requests", "annotations", "labels"}
    for document in read(file):
        names = {
            id(inner) for outer, key in keys(document) if key in free for inner in [outer[key]]
        }
        for mapping, key in list(keys(document)):
            if id(mapping) in names:
                continue
            mapping[key + "s"] = mapping.pop(key)
            try:
                same = as_understood(document) == document
            except (ValueError, KeyError, TypeError, AttributeError):
                same = False
            assert not same, key
            mapping[key] = mapping.pop(key + "s")


@pytest.mark.parametrize("stage", ["locate", "reduce", "evaluate", "report"])
def test_torchrun_and_vxdist_understand_what_is_started(
    file: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.distributed.run import get_args_parser

    _, job = read(file, stage)
    container = container_of(job)
    assert container["command"] == ["torchrun"]
    if job["kind"] == "TrainJob":
        # What the runtime's plugin for torch sets; a flag of the same meaning would override it.
        trainer = job["spec"]["trainer"]
        monkeypatch.setenv("PET_NNODES", str(trainer["numNodes"]))
        monkeypatch.setenv("PET_NPROC_PER_NODE", str(trainer["numProcPerNode"]))
        monkeypatch.setenv("PET_NODE_RANK", "1")
    given = [text.replace("$(JOB_COMPLETION_INDEX)", "1") for text in container["args"]]
    agent = get_args_parser().parse_args(given)
    assert (agent.nnodes, agent.nproc_per_node, agent.node_rank) == ("2", "8", 1)
    assert agent.training_script == f"launch/{stage}.py"
    assert (ROOT / agent.training_script).exists()
    assert agent.shutdown_timeout < pod_of(job)["terminationGracePeriodSeconds"]
    monkeypatch.chdir(ROOT)
    config = parse(stage, agent.training_script_args)
    assert (config.trainer.num_nodes, config.trainer.devices) == (2, 8)
    assert int(agent.nproc_per_node) == container_gpus(container)


def container_gpus(container: Document) -> int:
    """GPUs that a pod asks for."""
    resources = container.get("resourcesPerNode") or container["resources"]
    return int(resources["limits"]["nvidia.com/gpu"])


def test_pods_find_each_other_and_the_volume(file: Path) -> None:
    claim, job = read(file)
    pod, name = pod_of(job), job["metadata"]["name"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounted = {m["name"]: m["mountPath"] for c in pod["containers"] for m in c["volumeMounts"]}
    assert set(mounted) == set(volumes)
    assert volumes["data"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert mounted["shared-memory"] == "/dev/shm"
    container = container_of(job)
    environ = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    (store,) = (text for text in container["args"] if text.startswith("--store="))
    for path in (environ["HF_HOME"], store.partition("=")[2]):
        assert path.startswith(mounted["data"] + "/")
    names = list(environ)
    assert names.index("NAMESPACE") < names.index("VXSTORE_JOB"), "a variable must come before"
    assert environ["VXSTORE_JOB"] == f"$(NAMESPACE)/{name}"
    if job["kind"] == "JobSet":
        assert f"--master-addr={name}-node-0-0.{name}" in container["args"]
        (replicated,) = job["spec"]["replicatedJobs"]
        of = replicated["template"]["spec"]
        assert f"--nnodes={of['parallelism']}" in container["args"]
        assert of["completions"] == of["parallelism"]


def test_the_image_is_made_of_what_is_there() -> None:
    text = (FOLDER / "Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (.+) \S+$", text, re.M) for word in line.split()]
    assert {"vxdist", "store", "configs", "launch"} <= set(copied)
    assert all((ROOT / path).exists() for path in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.search(r"'\.\[(.+)\]'", text)
    assert extras is not None
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
    assert project["readme"] in copied
