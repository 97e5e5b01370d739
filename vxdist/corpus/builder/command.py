"""The `vxdist corpus build` command."""

import asyncio
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vxdist import stopping
from vxdist.corpus.builder.config import BuildConfig
from vxdist.corpus.builder.settings import check_settings
from vxdist.settings import parse_section
from vxstore.text import plural

if TYPE_CHECKING:
    from vxdist.corpus.builder.folder import BuildFolder
    from vxdist.corpus.builder.topics import Guide, Topic


def run(arguments: Sequence[str]) -> None:
    """Build a corpus, or resume a build.

    Raises UserError if the settings or the endpoint are unusable, Stopped if the budget is spent
    or the endpoint keeps failing.
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
        written = folder.written_pairs()
        missing = [topic for topic in topics if topic.pair not in written]
        if missing:
            with serve_local(config) as served:
                try:
                    given_up = asyncio.run(_write(served, guide, folder, missing))
                finally:
                    stopping.be_patient(False)  # asyncio has handled the signals, and let them go
        folder.finish(topics, guide)
    _print_summary(config, folder, given_up)


async def _write(
    config: BuildConfig, guide: "Guide", folder: "BuildFolder", missing: Sequence["Topic"]
) -> list[str]:
    """Write the missing topics, until done or SIGTERM; return the pairs that were given up."""
    from vxdist.corpus.builder.budget import Usage
    from vxdist.corpus.builder.client import ChatClient
    from vxdist.corpus.builder.folder import USAGE
    from vxdist.corpus.builder.work import Build

    usage = Usage(folder.path / USAGE, config)
    async with ChatClient(config, usage) as client:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, client.stop)
        await client.check()
        folder.begin()
        print(f"build: {plural(len(missing), 'pair')} to write in {config.out}")
        return await Build(config, guide, folder, usage, client).run(missing)


def _print_summary(config: BuildConfig, folder: "BuildFolder", given_up: Sequence[str]) -> None:
    values = {i.value for i in folder.activation} | {i.value for i in folder.evaluation}
    print(
        f"build: {plural(len(folder.activation), 'story', 'stories')} and "
        f"{plural(len(folder.evaluation), 'evaluation dilemma')} for "
        f"{plural(len(values), 'value')} in {config.out}; "
        f"{plural(sum(folder.rejects.values()), 'answer')} rejected (reasons in rejects.jsonl)"
    )
    if given_up:
        print(
            f"build: gave up on {plural(len(given_up), 'pair')} after "
            f"{plural(config.attempts, 'rejected answer')} each; raise build.attempts and run "
            "the same command again to retry them"
        )
