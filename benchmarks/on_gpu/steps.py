"""Steps of a measurement, of which one may fail and the others go on."""

import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager


class Steps:
    """What was done, how long it took, and what failed."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.errors: dict[str, str] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step; an error is kept and not raised."""
        began = time.perf_counter()
        try:
            yield
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            causes = []
            cause: BaseException | None = error
            while cause is not None:
                causes.append(f"{type(cause).__name__}: {cause}"[:1500])
                cause = cause.__cause__
            self.errors[name] = " | from ".join(causes)
        print(f"  {name}: {time.perf_counter() - began:.3f} s", file=sys.stderr, flush=True)
        took = self.seconds.get(name, 0.0) + time.perf_counter() - began
        self.seconds[name] = round(took, 2)
