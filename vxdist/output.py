"""What a stage says on standard output."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a stage says on standard output, if anything: lines and progress."""

    shown: bool = True

    def say(self, text: str) -> None:
        """Print a line."""
        if self.shown:
            print(text, flush=True)
