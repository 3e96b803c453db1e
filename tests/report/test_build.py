"""Reports of made-up studies: what is read, what is counted, and what each renderer says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from raysearch.errors import BadInput
from raysearch.report import to_json, to_markdown, to_plain, to_text
from raysearch.report.sentences import honest_figures
from raysearch.selection import FoldGroups, estimates
from raysearch.study.ledger import FoldRow, Ledger, StageUse
from tests.support.study_folders import report_of

Make = Callable[..., Path]
K = 4
NAMES = [f"demo/v{f}" for f in range(K)]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a study's folder. `tables` is {trial: [K][4] of val_ua, val_wa, test_ua, test_wa}."""

    def write(
        tables: Mapping[int, np.ndarray],
        failed: Mapping[int, str] | None = None,
        running: int | None = None,
        facts: Mapping[str, Any] | None = None,
        **study: Any,
    ) -> Path:
        folder = tmp_path / "rdlr-demo-00000000"
        folder.mkdir()
        known = {
            "method": "rdlr",
            "corpus": {"name": ["demo"], "classes": ["sad", "angry"]},
            "features": ["is10"],
            "normalise": "fold",
            "protocol": {"name": "loso"},
            "objective": "ua",
            "seed": 5,
            "params": {"gamma": {"float": [0.2, 0.8]}, "strategy": "lr"},
        }
        (folder / "study.yaml").write_text(yaml.safe_dump(known | study))
        folds = [
            {
                "name": name,
                "index": f,
                "test_groups": [name],
                "val_groups": [NAMES[(f + 1) % K]],
                "n_train": 20,
                "n_validation": 10,
                "n_test": 10,
            }
            for f, name in enumerate(NAMES)
        ]
        (folder / "folds.json").write_text(json.dumps(folds[::-1]))
        ledger = Ledger(folder / "ledger.sqlite", write=True)
        for name, value in (facts or {}).items():
            ledger.set_fact(name, value)
        for number in sorted({*tables, *(failed or {}), *([running] if running else [])}):
            ledger.add_trial(number, {"gamma": 0.1 * number, "batch": 32}, "tpe")
            if failed and number in failed:
                ledger.finish_trial(number, "failed", reason=failed[number])
            if number not in tables:
                continue
            rows = [
                FoldRow(
                    number,
                    NAMES[f],
                    f,
                    dict(
                        zip(("val_ua", "val_wa", "test_ua", "test_wa"), map(float, x), strict=True)
                    ),
                    [[4, 1], [2, 3]],
                    1.5,
                    (
                        StageUse("teacher", f"t{f}", number == 1),
                        StageUse("student", f"s{number}{f}", True),
                    ),
                )
                for f, x in enumerate(tables[number])
            ]
            ledger.record_folds(rows)
            if number != running:
                ledger.finish_trial(number, "complete", float(tables[number][:, 0].mean()))
        ledger.close()
        return folder

    return write


def scores(seed: int, trials: int = 3) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {number: rng.uniform(0.4, 0.95, (K, 4)) for number in range(1, trials + 1)}


def test_json_holds_the_estimates_of_the_ledger(make: Make) -> None:
    tables = scores(0)
    plain = json.loads(to_json(report_of(make(tables, failed={4: "the loss became nan"}))))
    table = np.stack([tables[n] for n in sorted(tables)])
    groups = [
        FoldGroups(frozenset({n}), frozenset({NAMES[(f + 1) % K]})) for f, n in enumerate(NAMES)
    ]
    expected = estimates(table[:, :, 0], {"ua": table[:, :, 2], "wa": table[:, :, 3]}, groups)
    for name in ("honest", "nested", "selected", "oracle"):
        for metric in ("ua", "wa"):
            e = getattr(expected, name)[metric]
            assert plain["estimates"][name][metric] == pytest.approx(e.mean)
            assert plain["estimates"][name][f"{metric}_interval"] == pytest.approx([e.low, e.high])
    assert plain["estimates"]["optimism"] == pytest.approx(expected.optimism)
    assert plain["study"] == "rdlr-demo-00000000"
    assert plain["trials"] == {"complete": 3, "failed": 1, "pruned": 0, "running": 0}
    assert plain["folds"] == K
    # 4 teachers and 12 students; two further trials asked for the 4 teachers again
    assert plain["stages"] == {"run": 16, "reused": 8}
    assert plain["best_trial"] == expected.best + 1
    assert plain["best"] == {"gamma": pytest.approx(0.1 * plain["best_trial"]), "batch": 32}
    assert plain["seconds"] == pytest.approx(18)


def test_the_objective_decides_which_validation_score_chooses(make: Make) -> None:
    tables = {1: np.tile([0.9, 0.1, 0.5, 0.5], (K, 1)), 2: np.tile([0.1, 0.9, 0.5, 0.5], (K, 1))}
    report = report_of(make(tables, objective="wa"))
    assert report.best_trial == 2
    assert "mean validation WA" in report.section("settings").title


def test_text_tells_a_stranger_what_was_found(make: Make) -> None:
    folder = make(
        scores(1, 7),
        failed={8: "the loss became \x1b[31mnan\x07\nat epoch 3"},
        facts={"simulated": ["speech", "votes"], "notes": ["Clip 3 is left out."]},
    )
    text = to_text(report_of(folder))
    assert max(map(len, text.splitlines())) <= 80
    assert not re.search(r"[^\S\n ]|[\x00-\x09\x0b-\x1f]", text)
    for part in (
        "rdlr-demo-00000000",
        "leave one speaker out",
        "40 clips, 2 classes (sad, angry)",
        "The speech is synthetic",
        "votes are simulated",
        "Clip 3 is left out.",
        "Fixed: strategy=lr",
        "Honest result:",
        "optimism",
        "the first 5 of 7",
        "the loss became nan at epoch 3",
        "demo/v3",
        "7 complete, 1 failed",
        "teacher",
    ):
        assert part in " ".join(text.split()), part


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_column_disappears(make: Make, width: int) -> None:
    text = to_text(report_of(make(scores(1))), width=width)
    assert max(map(len, text.splitlines())) <= width
    if width >= 80:
        assert "…" not in text
        assert all(name in text for name in NAMES)


def test_colour_only_where_asked(make: Make) -> None:
    report = report_of(make(scores(1)))
    assert "\x1b[" in to_text(report, colour=True)
    assert "\x1b" not in to_text(report)


def test_renderers_give_the_same_bytes_twice(make: Make) -> None:
    folder = make(scores(2))
    for render in (to_json, to_markdown, to_text):
        assert render(report_of(folder)) == render(report_of(folder))


def test_markdown_has_every_table_and_escapes(make: Make) -> None:
    text = to_markdown(report_of(make(scores(3), failed={9: "a|b <script>"})))
    assert "a\\|b \\<script\\>" in text
    assert text.count("| ---: |") >= 3
    assert [x.count("|") for x in text.splitlines() if x.startswith("| honest |")] == [8]
    assert "- **honest**: each speaker is scored with" in text


def test_before_the_first_complete_trial(make: Make) -> None:
    report = report_of(make({1: scores(0)[1]}, running=1))
    assert report.estimates is None
    assert "No trial has finished all its folds yet" in to_text(report)
    plain = to_plain(report)
    assert (plain["estimates"], plain["best"], plain["trials"]["running"]) == (None, None, 1)


def test_when_every_trial_failed_the_reasons_are_told(make: Make) -> None:
    report = report_of(make({}, failed={1: "out of memory", 2: "out of memory", 3: "nan"}))
    text = " ".join(to_text(report).split())
    assert "No trial completed" in text
    assert "2 out of memory 1, 2" in text


def test_an_empty_study(make: Make) -> None:
    assert "No trial has been run yet" in to_text(report_of(make({})))


def test_one_setting_has_no_optimism_to_measure(make: Make) -> None:
    text = " ".join(to_text(report_of(make(scores(0, 1)))).split())
    assert "nothing to choose, so all four estimates agree" in text


def test_transductive_and_speaker_dependent_studies_say_so(make: Make) -> None:
    folder = make(scores(0), normalise="speaker", protocol={"name": "kfold", "folds": 4})
    text = " ".join(to_text(report_of(folder)).split())
    assert "transductive" in text
    assert "say nothing about new speakers" in text
    assert "clips of held-out parts" in text


def test_class_recalls_are_pooled_over_folds(make: Make) -> None:
    rows = to_plain(report_of(make(scores(0))))["tables"]["classes"]
    assert rows[0] == {
        "class": "sad",
        "clips": 20,
        "recall": 0.8,
        "precision": pytest.approx(16 / 24),
        "f1": pytest.approx(2 * 16 / 44),
        "taken_for": "angry (4)",
    }
    assert rows[1] == {
        "class": "angry", "clips": 20, "recall": 0.6, "precision": 12 / 16, "f1": 2 / 3,
        "taken_for": "sad (8)",
    }  # fmt: skip


def test_a_folder_without_a_study(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"folds\.json"):
        report_of(tmp_path)


def test_a_complete_trial_without_a_fold_is_named(make: Make) -> None:
    folder = make({1: scores(0)[1][:3]})
    with pytest.raises(ValueError, match="trial 1 on fold demo/v3"):
        report_of(folder)


@pytest.mark.parametrize("one_class", [0, 1, 3, 4])
def test_where_half_of_the_speakers_lack_classes_the_headline_is_pooled(
    write: Callable[..., Path], one_class: int
) -> None:
    """Speakers of one class, all right or all wrong, and others of both classes."""
    table = np.full((1, 6, 4), 0.5)
    confusions = np.zeros((1, 6, 2, 2), dtype=int)
    confusions[0, :, 0, 0] = confusions[0, :, 1, 0] = 5  # all of class 0 right, none of class 1
    for f in range(one_class):
        confusions[0, f, 1] = 0
        table[0, f, 2] = 1.0
    report = report_of(write(table, confusions=confusions))
    assert report.estimates is not None
    text = " ".join(to_text(report).split())
    mean = 100 * (6 + one_class) / 12
    assert report.estimates.honest["ua"].mean == pytest.approx(mean / 100)
    if one_class < 3:
        assert report.estimates.pooled is None
        assert f"Honest result: {mean:.1f} % UA on speakers" in text
        assert "lack classes" not in text
        return
    assert report.estimates.pooled is not None
    assert report.estimates.pooled.mean == pytest.approx(0.5)
    assert "Honest result: 50.0 % UA of all clips pooled on speakers" in text
    assert f"{one_class} of 6 folds lack classes ({one_class} have one alone)" in text
    assert f"({mean:.1f} % UA)" in text
    assert honest_figures(report.estimates, report.metrics).startswith(
        "honest estimate: pooled UA 50.0 %"
    )
    assert to_plain(report)["estimates"]["pooled"]["ua"] == pytest.approx(0.5)
