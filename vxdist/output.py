"""Messages of a stage on standard output."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Output:
    """Prints the messages of a stage; `shown` false silences them and its progress."""

    shown: bool = True

    def say(self, text: str) -> None:
        """Print a line."""
        if self.shown:
            print(text, flush=True)
