"""Every command of the page is understood by what it is given to."""

import re
import shlex
from pathlib import Path

import pytest

from vxdist.cli import STAGES
from vxdist.config import TrainerConfig
from vxdist.settings import parse

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
PAGE = (LAUNCH / "README.md").read_text()
PROGRAMS = ("torchrun", "python", "srun", "sbatch")


def commands(text: str) -> list[str]:
    """Lines of a page's indented blocks that start one of the programs."""
    lines = re.findall(r"^ {4}((?:.*\\\n)*.*)$", text, flags=re.M)
    joined = (line.replace("\\\n", " ").strip() for line in lines)
    return [line for line in joined if line.startswith(PROGRAMS)]


def understand(words: list[str]) -> str:
    """The stage that a command starts; raises if anyone would refuse it."""
    program, *words = words
    if program == "torchrun":
        from torch.distributed.run import get_args_parser

        agent = get_args_parser().parse_args(words)
        return understand(["python", agent.training_script, *agent.training_script_args])
    if program == "srun":
        assert "--ntasks-per-node" in words[: words.index("python")][1].partition("=")
        return understand(words[words.index("python") :])
    if program == "sbatch":
        place = next(n for n, word in enumerate(words) if word.endswith(".sbatch"))
        assert (ROOT / words[place]).exists()
        stage, *settings = words[place + 1 :]
        assert stage in (*STAGES, "run")
        parse(stage, settings)
        return stage
    script, *settings = words
    assert (ROOT / script).exists()
    parse(Path(script).stem, settings)
    return Path(script).stem


def test_every_command_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = [understand(shlex.split(command)) for command in commands(PAGE)]
    assert found == [*STAGES, "locate", "run", "locate", "locate"]


def test_the_command_of_a_configuration_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 70B one says at its top how it is started."""
    monkeypatch.chdir(ROOT)
    top = (ROOT / "configs" / "llama3.1-70b.yaml").read_text().split("\n\n")[0]
    (command,) = commands(re.sub(r"^# {3}", "    ", top, flags=re.M))
    assert understand(shlex.split(command)) == "locate"


def test_what_the_page_says_is_so() -> None:
    """Defaults of the batch script and of the time-outs; links; sections."""
    script = (LAUNCH / "slurm" / "locate.sbatch").read_text()
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| .+ \| (.+) \|$", PAGE, flags=re.M))
    given = dict(re.findall(r'^: "\$\{([A-Z_]+):=(.+)\}"', script, flags=re.M))
    assert set(rows) == set(given) - {"OMP_NUM_THREADS"}
    assert (rows["RESTARTS"], rows["REQUEUES"]) == (given["RESTARTS"], given["REQUEUES"])
    for name, seconds in re.findall(r"^\| `trainer\.(\w+)` \| (\d+)", PAGE, flags=re.M):
        assert getattr(TrainerConfig(), name) == float(seconds)
    heads = [head.lower().replace(" ", "-") for head in re.findall(r"^## (.+)$", PAGE, re.M)]
    for target in re.findall(r"\]\((.+?)\)", PAGE):
        assert target.removeprefix("#") in heads or (LAUNCH / target).exists(), target


@pytest.mark.parametrize("stage", STAGES)
def test_the_scripts_are_short(stage: str) -> None:
    lines = (LAUNCH / f"{stage}.py").read_text().splitlines()
    assert len(lines) <= 25
    assert f'sys.argv.insert(1, "{stage}")' in "".join(lines)
