"""The tasks of the stages (parts, conditions), cut into batches as the stages cut them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vxdist.asking.checks import check_dilemmas, check_values, make_outcomes
from vxdist.asking.outcomes import Outcome, Traits, is_tested, traits_of
from vxdist.config import Config
from vxdist.corpus import Corpus
from vxdist.estimate.texts import Lengths
from vxdist.evaluate.checks import check_controls
from vxdist.evaluate.conditions import make_conditions
from vxdist.plan import Telling, assign, count_clusters, deal, pack, share_setting
from vxdist.reduce.clusters import LEAST_CLUSTERS


@dataclass(frozen=True, kw_only=True)
class Task:
    """A part or a condition; one rank runs it from beginning to end."""

    tokens: int
    """Number of tokens that run, padding included."""
    batches: int
    attended: int
    """Number of token pairs in attention: the sum over texts of the batch's width squared."""
    logits: int
    """Number of positions where the next token is predicted, over all texts."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """The work of a stage: its tasks, and the shapes of its largest batches."""

    title: str
    texts: int
    """Number of distinct texts; evaluate runs all of them under every condition."""
    text_tokens: int
    """Number of tokens of the distinct texts, without padding."""
    longest: int
    """Number of tokens of the longest text."""
    tasks: tuple[Task, ...]
    rows: int
    """Number of texts in the batch with the most tokens."""
    width: int
    """Number of tokens per text in that batch."""
    logit_rows: int
    """Number of texts in the batch with the most logits."""
    logit_places: int
    """Number of positions per text in that batch for which logits are kept."""

    @property
    def tokens(self) -> int:
        """Number of tokens that run, over all tasks, padding included."""
        return sum(task.tokens for task in self.tasks)

    def busiest(self, ranks: int) -> tuple[Task, ...]:
        """Tasks of the rank with the most tokens."""
        return max(self._assign(ranks), key=lambda tasks: sum(task.tokens for task in tasks))

    def steps(self, ranks: int) -> int:
        """Number of batches of the rank with the most; under zero3 all ranks run as many."""
        return max(sum(task.batches for task in tasks) for tasks in self._assign(ranks))

    def _assign(self, ranks: int) -> list[tuple[Task, ...]]:
        """Tasks of each rank, as the stages assign them."""
        assigned = assign({n: task.tokens for n, task in enumerate(self.tasks)}, ranks)
        return [tuple(self.tasks[n] for n in numbers) for numbers in assigned]


def cut_stories(config: Config, lengths: Lengths, tokens_per_batch: int | None = None) -> Load:
    """Locate's parts.

    Raises UserError if `parts_per_group` is not at least 1, or a story is longer than a batch.
    """
    settings = config.locate
    dealt = deal(lengths.stories, settings.parts_per_group).values()
    limit = tokens_per_batch or settings.tokens_per_batch
    parts = [[lengths.stories[n].tokens for n in part] for part in dealt]
    cut = [_cut([part], limit, settings.max_padding) for part in parts]
    return _join("locate", [length for part in parts for length in part], cut)


def cut_questions(
    config: Config, corpus: Corpus, lengths: Lengths, tokens_per_batch: int | None = None
) -> Load | None:
    """The conditions of all outcomes together; None if there are no dilemmas.

    Raises UserError if a setting is out of range, or a question is longer than a batch.
    """
    loads = cut_outcomes(config, corpus, lengths, tokens_per_batch)
    if not loads:
        return None
    by_tokens = max(loads, key=lambda load: load.rows * load.width)
    by_logits = max(loads, key=lambda load: load.logit_rows * load.logit_places)
    return replace(
        by_tokens,
        title="evaluate",
        texts=sum(load.texts for load in loads),
        text_tokens=sum(load.text_tokens for load in loads),
        longest=max(load.longest for load in loads),
        tasks=tuple(task for load in loads for task in load.tasks),
        logit_rows=by_logits.logit_rows,
        logit_places=by_logits.logit_places,
    )


def cut_outcomes(
    config: Config, corpus: Corpus, lengths: Lengths, tokens_per_batch: int | None = None
) -> tuple[Load, ...]:
    """The conditions of each outcome that asks anything; none if there are no dilemmas.

    Raises UserError as `cut_questions` does.
    """
    settings = config.evaluate
    total = sum(len(of) for outcome in lengths.questions.values() for of in outcome.values())
    if not corpus.evaluation and not total:
        return ()
    values = check_values(settings, corpus)
    check_controls(settings)
    check_dilemmas(config, total, "evaluate.dilemmas")
    limit = tokens_per_batch or settings.tokens_per_batch
    loads = []
    for name, outcome in make_outcomes(settings).items():
        questions = [length for of in lengths.questions[name].values() for length in of]
        if not questions:
            continue
        traits = traits_of(outcome)
        rows = list(lengths.rows[name].values())
        if max(length for of in rows for length in of) > limit:  # counted for larger batches
            rows = list(lengths.questions[name].values())
        each = -(-len(questions) // sum(map(len, rows)))
        every = _cut(rows, limit, settings.max_padding, traits, each=each)
        draw = every
        if settings.control_dilemmas == "own" and is_tested(outcome):
            own = [of[:: len(values)] for of in rows]
            draw = _cut(own, limit, settings.max_padding, traits, each=each)
        draws = settings.controls
        if traits.most_controls is not None:
            draws = min(draws, traits.most_controls)
        tasks = [
            (draw if condition.kind == "control" else every).task
            for condition in make_conditions(values, draws)
        ]
        loads.append(replace(_join(name, questions, [every]), tasks=tuple(tasks)))
    return tuple(loads)


def cut_dilemmas(config: Config, outcome: Outcome, dilemmas: Sequence[Sequence[int]]) -> Load:
    """Attribute's tasks: the questions of each dilemma, by their lengths."""
    settings, traits = config.attribute, Traits(logits=traits_of(outcome).logits)
    cuts = [
        _cut([of], settings.tokens_per_batch, settings.max_padding, traits, "attribute")
        for of in dilemmas
    ]
    return _join("attribute", [length for of in dilemmas for length in of], cuts)


@dataclass(frozen=True, kw_only=True)
class _Cut:
    """A task, and the largest of its batches: (rows, width), and (rows, places with logits)."""

    task: Task
    largest: tuple[int, int]
    most_logits: tuple[int, int]


def _cut(
    bins: Sequence[Sequence[int]],
    limit: int,
    max_padding: float,
    traits: Traits | None = None,
    section: str = "evaluate",
    each: int = 1,
) -> _Cut:
    """One task of rows whose lengths are in `bins`; a batch holds rows of one bin.

    `traits` are those of an outcome; None is locate, which predicts nothing. A row holds `each`
    texts.
    """
    section = "locate" if traits is None else section
    batches = [
        [lengths[i] for i in batch]
        for lengths in bins
        for batch in pack(lengths, tokens_per_batch=limit, max_padding=max_padding, section=section)
    ]
    sizes = [(len(batch), batch[0]) for batch in batches]
    places = [(len(batch), _count_places(batch, traits, each)) for batch in batches]
    tokens = sum(rows * width for rows, width in sizes)
    attended = sum(rows * width**2 for rows, width in sizes)
    logits = sum(rows * kept for rows, kept in places)
    passes = 1 if traits is None else traits.passes
    if traits is not None and traits.grows:
        # Each further pass reads a token of each text, which attends to the text.
        more = passes - 1
        tokens, attended = tokens + more * sum(rows for rows, _ in sizes), attended + more * tokens
        logits *= passes
    else:
        tokens, attended, logits = tokens * passes, attended * passes, logits * passes
    return _Cut(
        task=Task(tokens=tokens, batches=len(batches) * passes, attended=attended, logits=logits),
        largest=max(sizes, key=_product),
        most_logits=max(places, key=_product),
    )


def _count_places(batch: Sequence[int], traits: Traits | None, each: int) -> int:
    """Positions of a row for which logits are kept: those where a text of the batch ends, or all,
    and then those of every pass that is compared."""
    if traits is None:
        return 0
    if traits.logits == "all":
        return batch[0] * (1 + traits.intact_passes)
    return min(batch[0], each * len(set(batch)))


def _product(pair: tuple[int, int]) -> int:
    return pair[0] * pair[1]


def _join(title: str, lengths: Sequence[int], cuts: Sequence[_Cut]) -> Load:
    rows, width = max((cut.largest for cut in cuts), key=_product)
    logit_rows, logit_places = max((cut.most_logits for cut in cuts), key=_product)
    return Load(
        title=title,
        texts=len(lengths),
        text_tokens=sum(lengths),
        longest=max(lengths),
        tasks=tuple(cut.task for cut in cuts),
        rows=rows,
        width=width,
        logit_rows=logit_rows,
        logit_places=logit_places,
    )


def count_labels(stories: Sequence[Telling]) -> tuple[int, int]:
    """Numbers of values and of languages of the stories."""
    return len({story.value for story in stories}), len({story.language for story in stories})


def label_parts(config: Config, lengths: Lengths) -> tuple[str, ...]:
    """Labels of locate's parts beside value, language and stance."""
    dealt = deal(lengths.stories, config.locate.parts_per_group).values()
    shared = all(share_setting(lengths.stories[n] for n in part) for part in dealt)
    return ("cluster", "setting") if shared else ("cluster",)


def are_tested(config: Config, lengths: Lengths) -> bool:
    """Whether every value and language will have enough clusters for reduce to test neurons."""
    clusters = count_clusters(lengths.stories, config.locate.parts_per_group)
    values, languages = count_labels(lengths.stories)
    enough = [number >= LEAST_CLUSTERS for number in clusters.values()]
    return values > 1 and len(enough) == values * languages and all(enough)
