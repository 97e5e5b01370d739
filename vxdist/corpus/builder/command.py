"""The `vxdist corpus build` command."""

import asyncio
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vxdist.corpus.builder.config import BuildConfig
from vxdist.corpus.builder.settings import check_settings
from vxdist.settings import parse_section

if TYPE_CHECKING:
    from vxdist.corpus.builder.folder import BuildFolder
    from vxdist.corpus.builder.topics import Guide, Topic


def run(arguments: Sequence[str]) -> None:
    """Write a corpus, or go on with one.

    Raises UserError if settings or endpoint will not do, Stopped if the budget is spent or the
    endpoint fails for good.
    """
    config = parse_section("corpus build", "build", BuildConfig, arguments)
    check_settings(config)
    from vxdist.corpus.builder.folder import BuildFolder
    from vxdist.corpus.builder.local import serve_local
    from vxdist.corpus.builder.topics import make_topics, read_guide

    guide = read_guide(config)
    topics = make_topics(config, guide)
    folder = BuildFolder(config, guide)
    given_up: list[str] = []
    with folder.hold():
        written = folder.written()
        missing = [topic for topic in topics if topic.pair not in written]
        if missing:
            with serve_local(config) as served:
                given_up = asyncio.run(_write(served, guide, folder, missing))
        folder.finish(topics, guide)
    _tell(config, folder, given_up)


async def _write(
    config: BuildConfig, guide: "Guide", folder: "BuildFolder", missing: Sequence["Topic"]
) -> list[str]:
    """Write what is missing; the pairs that were given up. SIGTERM stops it."""
    from vxdist.corpus.builder.budget import Usage
    from vxdist.corpus.builder.client import Writer
    from vxdist.corpus.builder.folder import USAGE
    from vxdist.corpus.builder.work import Build

    usage = Usage(folder.path / USAGE, config)
    async with Writer(config, usage) as writer:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, writer.stopping.set)
        await writer.check()
        folder.begin()
        print(f"build: {len(missing):,} pairs are due in {config.out}")
        return await Build(config, guide, folder, usage, writer).run(missing)


def _tell(config: BuildConfig, folder: "BuildFolder", given_up: Sequence[str]) -> None:
    values = {i.value for i in folder.activation} | {i.value for i in folder.evaluation}
    print(
        f"build: {len(folder.activation):,} stories and {len(folder.evaluation):,} evaluation "
        f"dilemmas of {len(values)} values in {config.out}; {sum(folder.rejects.values()):,} "
        "answers rejected, with their reasons in rejects.jsonl"
    )
    if given_up:
        print(
            f"build: {len(given_up):,} pairs were given up after {config.attempts} rejected "
            "answers; raise build.attempts and run the same command to try them again"
        )
