"""Parts of the page that only some stores have: p among matched sets, and the model's answers."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vxdist.asking.outcomes.answers import Answers
from vxdist.config import Config
from vxdist.evaluate.attributed import Predictions
from vxdist.output import Output
from vxdist.report.content import gather
from vxdist.report.sections import answers, effects
from vxdist.report.sections.effect_caveats import effect_caveats
from vxdist.report.stage import report_path, run
from vxstore.evaluation import (
    ConditionLabels,
    ConditionRecorder,
    DilemmaLabels,
    create_evaluation,
)
from vxstore.read import open_store

if TYPE_CHECKING:
    from conftest import StoreMaker

MakeConfig = Callable[..., Config]
SETS = "p among matched sets"


def write_page(config: Config) -> str:
    run(config, Output())
    return report_path(config).read_text(encoding="utf-8")


def predict(maker: "StoreMaker") -> Predictions:
    """The draws as they were measured, but for those of the first mask, which are the other way."""
    draw_MVGK = open_store(maker.path).effect("choice")["control_shift"].load().values.copy()
    draw_MVGK[0] *= -1
    set_MVGR = np.random.default_rng(1).normal(0, 0.05, (*draw_MVGK.shape[:3], 10_000))
    return Predictions(name="choice-all", draw_MVGK=draw_MVGK, set_MVGR=set_MVGR)


class TestMatchedSets:
    def test_without_an_attribution_it_says_why(
        self, maker: "StoreMaker", make_config: MakeConfig
    ) -> None:
        page = write_page(make_config(maker.write()))
        assert f">{SETS}</th>" not in page
        assert "No p among matched sets: the store has no attribution of these dilemmas" in page

    def test_p_where_it_is_warranted_and_why_not_elsewhere(
        self, maker: "StoreMaker", make_config: MakeConfig
    ) -> None:
        config = make_config(maker.write())  # whose draws are predicted next
        maker.predictions = predict
        maker.measure_effects()
        content = gather(config)
        view: Any = effects.make_section(content).view
        head = ["Language", "Mask", "Dilemmas of", *view.table.head]
        at = head.index(SETS) - 3
        assert view.own.head[at] == SETS
        shown = {(row.mask.id, row.language): row.numbers[at] for row in view.own.rows}
        assert shown["kindness", "en"] == "\N{EN DASH} (r -1.00, 0.8 needed)"
        assert shown["thrift", "en"] == "0.0001"  # 1 in 10,001
        texts = {caveat.title: caveat.text for caveat in effect_caveats(content)}
        told = texts["Shifts of thousands of matched sets"]
        assert told.startswith(
            "Attribution/choice-all predicts the shifts of 10,000 matched sets for each mask, and "
            "is warranted in 12 of 18 cells. A warrant is given where, over at least 8 control"
        )
        page = write_page(config)
        assert f">{SETS}</th>" in page
        assert "p 0.0001 among predicted matched sets" in page


def add_answers(maker: "StoreMaker", attrs: dict[str, Any]) -> None:
    """Answers `CONDITION to DILEMMA`, intact, and with each mask and its one control draw."""
    values, languages = maker.values, maker.languages
    conditions = [ConditionLabels(name="intact", kind="intact", mask="", draw=-1)]
    conditions += [ConditionLabels(name=v, kind="mask", mask=v, draw=-1) for v in values]
    conditions += [
        ConditionLabels(name=f"{v} control 0", kind="control", mask=v, draw=0) for v in values
    ]
    dilemmas = [
        DilemmaLabels(id=f"{v}-{g}-0", value=v, language=g) for v in values for g in languages
    ]
    create_evaluation(
        maker.path,
        "answers",
        conditions=conditions,
        dilemmas=dilemmas,
        languages=languages,
        measures=Answers.arrays,
        labels=Answers.labels,
        masked_CLNG=np.zeros((len(conditions), maker.layers, maker.neurons, len(languages)), bool),
        attrs={"outcome": "answers", "effect_of": None, "decision_boundary": None, **attrs},
    )
    recorder = ConditionRecorder(maker.path, "answers")
    for c, of in enumerate(conditions):
        told = [f"{of.name} to {d.id}" if d.language == "en" else "" for d in dilemmas]
        recorder.write(c, {"answer": np.array(told, dtype=object)})
    recorder.complete()


class TestAnswers:
    def test_those_of_the_dilemmas_own_mask_side_by_side(
        self, maker: "StoreMaker", make_config: MakeConfig
    ) -> None:
        config = make_config(maker.write())
        add_answers(maker, {})
        section = answers.make_section(gather(config))
        assert section is not None
        view: Any = section.view
        assert [name.id for name, _ in view.groups] == list(maker.values)
        by_id = {row.dilemma: row for _, rows in view.groups for row in rows}
        assert len(by_id) == 6
        assert by_id["thrift-en-0"].answers == (
            ("intact", "intact to thrift-en-0"),
            ("thrift", "thrift to thrift-en-0"),
            ("thrift control 0", "thrift control 0 to thrift-en-0"),
        )
        page = write_page(config)
        assert 'class="answers"' in page
        assert '<td lang="en">thrift control 0 to thrift-en-0</td>' in page
        assert '<td lang="zh">\N{EN DASH}</td>' in page  # an empty answer
        assert "kindness to thrift" not in page  # another value's mask
        assert "<script>alert(1)</script> to" not in page

    @pytest.mark.parametrize("name", ["intervention", "selection_digest"])
    def test_not_those_of_other_neurons_or_of_another_intervention(
        self, maker: "StoreMaker", make_config: MakeConfig, name: str
    ) -> None:
        config = make_config(maker.write())
        add_answers(maker, {name: "mean"})
        assert answers.make_section(gather(config)) is None
        assert 'class="answers"' not in write_page(config)

    def test_none_without_answers(self, maker: "StoreMaker", make_config: MakeConfig) -> None:
        assert answers.make_section(gather(make_config(maker.write()))) is None
