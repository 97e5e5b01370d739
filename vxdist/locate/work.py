"""What locate does in the predict loop: count every part, and seal it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel

from vxdist.hooks.compiled import CompiledDecoder, Example
from vxdist.hooks.counter import DEFAULT_ROWS, Counter
from vxdist.model.blocks import HookPoints
from vxdist.model.decoder import find_decoder
from vxdist.plan import Plan
from vxdist.runtime.work import Batch, make_batch
from vxstore.statistics import Statistic
from vxstore.write import PartCounts, Recorder


class LocateWork:
    """Counts the parts of `plan` that are not sealed yet, into the store at `path`.

    `statistics` are at least those that the store records. With `compiled`, the decoder's layers
    are compiled.
    """

    title = "locate"
    task_name = "part"

    def __init__(
        self,
        plan: Plan,
        path: str,
        statistics: Sequence[Statistic] = DEFAULT_ROWS,
        *,
        compiled: bool = False,
    ) -> None:
        self._plan = plan
        self._path = path
        self._statistics = statistics
        self._recorder: Recorder | None = None
        self._counter: Counter | None = None
        self._counted = 0
        self._compiled = compiled
        self._decoder: CompiledDecoder | None = None

    def pending(self) -> Mapping[int, int]:
        """Unsealed parts, with the tokens they run."""
        self._recorder = Recorder(self._path)
        sealed = self._recorder.sealed()
        return {part.index: part.work for part in self._plan.parts if not sealed[part.index]}

    def batches(self, task: int) -> Sequence[tuple[int, ...]]:
        """Stories of each batch of a part."""
        return self._plan.parts[task].batches

    def text(self, position: int) -> tuple[Any, Any]:
        """Token ids of a story, and which of them count."""
        story = self._plan.stories[position]
        return story.token_ids_T, story.counted_T

    def attach(self, hook_points: HookPoints, device: torch.device) -> None:
        """Watch every neuron."""
        self._counter = Counter(hook_points, device, self._statistics, compiled=self._compiled)

    def settle(self, model: PreTrainedModel) -> bool:
        """The plan decides the batches, whatever the model is."""
        return False

    def begin(self, model: PreTrainedModel) -> None:
        """Compile the layers, if they are to be, for batches that the plan decides.

        Not for the first batch that is left: a resume would begin with another one.
        """
        if not self._compiled:
            return
        assert self._counter is not None
        device = next(model.parameters()).device
        self._decoder = CompiledDecoder(find_decoder(model), self._counter)
        self._decoder.prepare([self._example(batch, device) for batch in self._kinds()])

    def _kinds(self) -> Sequence[tuple[int, ...]]:
        """The largest batch of each kind that torch compiles for itself: of one row, or padded."""
        largest: dict[tuple[bool, bool], tuple[int, tuple[int, ...]]] = {}
        for part in self._plan.parts:
            for batch in part.batches:
                lengths = [len(self._plan.stories[position].token_ids_T) for position in batch]
                kind, size = (len(batch) == 1, min(lengths) < max(lengths)), sum(lengths)
                if size > largest.get(kind, (0,))[0]:
                    largest[kind] = size, batch
        return [batch for _, (_, batch) in sorted(largest.items())]

    def _example(self, positions: tuple[int, ...], device: torch.device) -> Example:
        batch = make_batch(0, positions, [self.text(p) for p in positions]).to(device)
        assert batch.counted_BT is not None
        return Example(
            token_ids_BT=batch.token_ids_BT,
            attention_mask_BT=batch.attention_mask_BT,
            counted_BT=batch.counted_BT,
        )

    def step(self, model: PreTrainedModel, batch: Batch) -> None:
        """Run the decoder alone, without its language-model head, and count."""
        assert self._counter is not None
        assert batch.counted_BT is not None
        # A filler counts no token, and not nothing, for which other code would be compiled.
        counted_BT = torch.zeros_like(batch.counted_BT) if batch.filler else batch.counted_BT
        self._counter.count(counted_BT)
        if self._decoder is not None:
            self._decoder(batch.token_ids_BT, batch.attention_mask_BT)
        else:
            # A cache would change what later tokens see of earlier ones.
            find_decoder(model)(
                input_ids=batch.token_ids_BT,
                attention_mask=batch.attention_mask_BT,
                use_cache=False,
            )
        if not batch.filler:
            self._counted += batch.counted

    def finish(self, task: int) -> Callable[[], None]:
        """Take the part's counts; what is returned writes them and seals the part."""
        assert self._counter is not None
        assert self._recorder is not None
        part = self._plan.parts[task]
        assert self._counted == part.token_count, f"part {task}: counted {self._counted} tokens"
        taken = self._counter.take()
        self._counted = 0
        counts = PartCounts(
            statistics=taken.statistics,
            routed_count_LE=taken.routed_LE,
            token_count=part.token_count,
            story_count=part.story_count,
        )
        return partial(self._recorder.write_part, task, counts)
