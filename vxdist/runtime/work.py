"""What a stage does in the predict loop, and the batches of padded tensors made from it.

B: row, which is a text or texts that begin alike; T: token.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedModel

from vxdist.model.blocks import HookPoints
from vxdist.plan import Row


@dataclass(kw_only=True)
class Batch:
    """Texts to run together, padded on the right. B: row, T: token."""

    task: int
    positions: tuple[int, ...]
    token_ids_BT: torch.Tensor
    attention_mask_BT: torch.Tensor
    counted_BT: torch.Tensor | None
    counted: int
    """Number of tokens that count, kept on the CPU so that the device need not synchronise."""
    ends_task: bool
    filler: bool
    rows: tuple[Row, ...] | None = None
    """What stands in each row; None if each is one text."""

    def to(self, device: torch.device, **_: Any) -> "Batch":
        """Move the tensors to `device`; Lightning calls this."""
        self.token_ids_BT = _move(self.token_ids_BT, device)
        self.attention_mask_BT = _move(self.attention_mask_BT, device)
        if self.counted_BT is not None:
            self.counted_BT = _move(self.counted_BT, device)
        return self


def _move(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy on `device`; from pinned memory, or it would wait until a GPU has nothing to do."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Work(Protocol):
    """What a stage does in the loop: tasks, each a fixed list of batches."""

    title: str
    task_name: str
    """What a task is called: part, condition."""

    def pending(self) -> Mapping[int, int]:
        """Tasks that are not done, with their numbers of tokens; the same on every rank."""

    def batches(self, task: int) -> Sequence[tuple[int, ...]]:
        """Positions of the texts in each batch of a task, in order."""

    def text(self, position: int) -> tuple[Any, Any]:
        """Token ids of a text, and which of them count (None if none do)."""

    def attach(self, hook_points: HookPoints, device: torch.device) -> None:
        """Register hooks; called once, when the model is ready."""

    def settle(self, model: PreTrainedModel) -> bool:
        """Called once when the model is ready, on all ranks together, before `batches` of any task
        are used; may run the model, the same number of times on each. Returns whether they, and
        with them the numbers of tokens, are others than before.
        """

    def begin(self, model: PreTrainedModel) -> None:
        """Called once after `attach`, on all ranks together; may run the model, the same number of
        times on each. Raises UserError to end the run before its first batch.
        """

    def step(self, model: PreTrainedModel, batch: Batch) -> None:
        """Run one batch. A filler batch must run like any other, and its results be dropped."""

    def finish(self, task: int) -> Callable[[], None]:
        """Collect the results of a task whose batches have all run; returns a function that writes
        them, which is called while the model runs the next task.
        """


class Schedule(Dataset[Batch]):
    """The batches of one rank, in order; each is made while the model runs the one before."""

    def __init__(self, work: Work, tasks: Sequence[int], length: int, filler_task: int) -> None:
        self._work = work
        self._batches = [
            (task, positions, n == len(batches) - 1, False)
            for task in tasks
            for batches in (work.batches(task),)
            for n, positions in enumerate(batches)
        ]
        # Under ZeRO-3 all ranks step together, so a rank that has run out of batches repeats one
        # short text until the others are done.
        filler = (filler_task, work.batches(filler_task)[-1][-1:], False, True)
        self._batches += [filler] * (length - len(self._batches))
        self._maker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        self._next: tuple[int, Future[Batch]] | None = None

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Batch:
        if self._next is not None and self._next[0] == index:
            batch = self._next[1].result()
        else:
            batch = self._make(index)
        following = index + 1
        if following < len(self):
            self._next = following, self._maker.submit(self._make, following)
        return batch

    def _make(self, index: int) -> Batch:
        task, positions, ends_task, filler = self._batches[index]
        texts = [self._work.text(position) for position in positions]
        return make_batch(task, positions, texts, ends_task=ends_task, filler=filler)


def make_batch(
    task: int,
    positions: tuple[int, ...],
    texts: Sequence[tuple[Any, Any]],
    *,
    ends_task: bool = False,
    filler: bool = False,
) -> Batch:
    """Pad `texts` (token ids, and which count or None), which are at `positions`, into a batch."""
    width = max(len(ids) for ids, _ in texts)
    token_ids_BT = torch.zeros(len(texts), width, dtype=torch.int64)
    attention_mask_BT = torch.zeros(len(texts), width, dtype=torch.int64)
    counted_BT = torch.zeros(len(texts), width, dtype=torch.bool)
    for row, (ids_T, counted_T) in enumerate(texts):
        token_ids_BT[row, : len(ids_T)] = torch.as_tensor(ids_T)
        attention_mask_BT[row, : len(ids_T)] = 1
        if counted_T is not None:
            counted_BT[row, : len(ids_T)] = torch.as_tensor(counted_T)
    return Batch(
        task=task,
        positions=positions,
        token_ids_BT=token_ids_BT,
        attention_mask_BT=attention_mask_BT,
        counted_BT=counted_BT,
        counted=int(counted_BT.sum()),
        ends_task=ends_task,
        filler=filler,
    )
