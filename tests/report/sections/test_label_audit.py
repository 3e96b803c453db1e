"""The label audit: its joint by the definition, its order by hand, and what it says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from raysearch.report import Report, build, to_text
from raysearch.report.formats import directory
from raysearch.report.sections.label_audit import audited, confident_joint
from tests.support.scored_study import CLASSES, Scored, write_scored
from tests.support.study_folders import read_study


def frame_of(scored: Scored, **more: object) -> pd.DataFrame:
    """As `tuning.outcomes` has it: the honest choice and the mean are two settings."""
    folds, clips = scored.y.shape
    names = [f"s{f}" for f in range(folds) for _ in range(clips)]
    frame = pd.DataFrame(
        {
            "clip": [f"c/{f}_{n}" for f in range(folds) for n in range(clips)],
            "fold": names,
            "speaker": names,
            "label": np.array(CLASSES, dtype=object)[scored.y.ravel()],
        }
    )
    for choice, c in (("honest", 1), ("mean", 0), ("oracle", 2)):
        p = scored.p[c].reshape(-1, 3)
        frame = frame.assign(**{f"{choice}.{name}": p[:, k] for k, name in enumerate(CLASSES)})
    return frame.assign(**more)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    return write_scored(tmp_path_factory.mktemp("audit") / "study")


def report_with(scored: Scored, frame: pd.DataFrame) -> Report:
    return build(read_study(scored.folder), predictions=frame)


def test_the_joint_is_that_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    codes, p = rng.integers(0, 4, 300), rng.dirichlet(np.ones(4), 300)
    t = [p[codes == k, k].mean() for k in range(4)]
    counts, off = np.zeros((4, 4), dtype=int), []
    for i in range(300):
        able = [k for k in range(4) if p[i, k] >= t[k]]
        if able:
            k = max(able, key=lambda k: p[i, k])
            counts[codes[i], k] += 1
            off += [i] if k != codes[i] else []
    # where several classes are confident, cleanlab takes the likeliest of all: the paper's too, as
    # a class that is likelier than a confident one may be under its own threshold
    joint, rows = confident_joint(codes, p)
    assert joint.sum() == counts.sum()
    assert np.abs(joint - counts).sum() <= 0.1 * counts.sum()
    assert len(set(rows) ^ set(off)) <= 0.1 * len(off)


def test_a_class_without_a_label_has_no_confident_clip() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(3), 50)
    joint, _ = confident_joint(np.arange(50) % 2, p)
    assert joint[:2, 2].sum() == 0


def test_clips_are_in_the_order_of_the_mean_confidence_in_their_label(scored: Scored) -> None:
    clips, joint = audited(frame_of(scored), CLASSES)
    p = scored.p[0].reshape(-1, 3)
    own = p[np.arange(len(p)), scored.y.ravel()]
    assert clips["confidence"].to_numpy() == pytest.approx(np.sort(own), abs=1e-6)
    assert clips["likely_confidence"].to_numpy() == pytest.approx(
        p.max(axis=1)[np.argsort(own, kind="stable")], abs=1e-6
    )
    assert int(clips["rejected"].sum()) == int(np.nansum(joint))
    assert np.isnan(np.diag(joint)).all()


def test_seeds_of_a_clip_have_their_mean_and_clips_without_probabilities_are_left_out(
    scored: Scored,
) -> None:
    frame = frame_of(scored)
    columns = [c for c in frame if "." in c]
    again = frame.assign(**{c: np.roll(frame[c].to_numpy(), 1) for c in columns})
    clips, _ = audited(pd.concat([frame, again]), CLASSES)
    assert len(clips) == len(frame)
    both = (frame[columns] + again[columns]) / 2
    alone, _ = audited(frame.assign(**both), CLASSES)
    assert clips["confidence"].to_numpy() == pytest.approx(alone["confidence"].to_numpy())
    lost = frame.copy()
    lost.loc[:9, columns] = np.nan
    clips, _ = audited(lost, CLASSES)
    assert len(clips) == len(frame) - 10
    empty, joint = audited(frame.assign(**dict.fromkeys(columns, np.nan)), CLASSES)
    assert empty.empty
    assert np.isnan(joint).all()


def test_the_report_has_the_first_twenty_and_the_file_all(scored: Scored) -> None:
    report = report_with(scored, frame_of(scored))
    section = report.section("audit")
    assert len(section.table.frame) == 20
    text = dict(directory.tables(report))["audit.csv"]
    assert len(text.splitlines()) == 1 + scored.y.size
    assert "models that never heard the clip's speaker" in section.before[0]
    assert [name for name, _ in directory.figures(report) if name.startswith("audit")] == [
        "audit.png",
        "audit.svg",
    ]
    assert "Label audit" in to_text(report)
    with pytest.raises(KeyError):
        build(read_study(scored.folder)).section("audit")


def test_planted_labels_are_counted_among_the_first_clips(scored: Scored) -> None:
    frame = frame_of(scored)
    codes = scored.y.ravel()
    wrong = np.random.default_rng(1).choice(len(codes), 12, replace=False)
    labels = codes.copy()
    labels[wrong] = (codes[wrong] + 1) % 3
    report = report_with(scored, frame.assign(planted=np.array(CLASSES, dtype=object)[labels]))
    section = report.section("audit")
    p = scored.p[0].reshape(-1, 3)
    order = np.argsort(p[np.arange(len(p)), labels], kind="stable")
    n, m = (int(np.isin(order[:top], wrong).sum()) for top in (12, 24))
    text = f"of 12 that were changed on purpose, {n} are among the first 12 clips and {m} among"
    assert text in section.before[2]
    assert f"(by chance {12 * 24 / len(codes):.1f})" in section.before[2]
    assert [plot.name for plot in section.plots] == ["audit", "audit_planted"]


def test_what_raters_and_listeners_heard_stands_beside_the_models(scored: Scored) -> None:
    from scipy.stats import spearmanr

    rng, frame = np.random.default_rng(0), frame_of(scored)
    votes = rng.integers(1, 4, (len(frame), 3))
    votes[0] = 0
    heard = rng.uniform(0.5, 1.0, len(frame)).round(2).astype(str)
    heard[1] = ""
    more = {f"votes.{name}": votes[:, k] for k, name in enumerate(CLASSES)}
    section = report_with(scored, frame.assign(recognised=heard, **more)).section("audit")
    clips = section.data["audit"].set_index("clip")
    assert np.isnan(clips.loc["c/0_0", "votes"])
    share = votes[2, scored.y[0, 2]] / votes[2].sum()
    assert clips.loc["c/0_2", "votes"] == pytest.approx(share)
    for name, word in (("votes", "raters"), ("recognised", "listeners")):
        there = clips[clips[name].notna()]
        rank = spearmanr(there["confidence"], there[name]).statistic
        line = next(line for line in section.after if line.startswith(f"{word}: "))
        assert float(line.rsplit(" ", 1)[1].rstrip(".").replace("−", "-")) == pytest.approx(
            rank, abs=2e-3
        )
    curves = section.plots[1]
    assert curves.name == "audit_people"
    for line, name in zip(curves.lines, ("votes", "recognised"), strict=True):
        first = clips[clips[name].notna()].sort_values("confidence", kind="stable")[:15]  # of 143
        assert line.x[0] == pytest.approx(100 * first["confidence"].mean())
        assert line.mean[0] == pytest.approx(100 * first[name].mean())
        assert line.low[0] < line.mean[0] < line.high[0]
