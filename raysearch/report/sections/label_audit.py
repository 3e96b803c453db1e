"""Label audit: clips whose label is rejected by models that did not learn from their speaker.

Clips are in the order of the confidence in their label, and marked where the confident joint counts
their label as wrong (Northcutt, Jiang and Chuang, Confident Learning, JAIR 2021, eq. 1; cleanlab
computes it). They are not in the joint's order, because labels that were changed on purpose come
later in it: docs/benchmarks.md has the figures, on corpora that had no part in the choice too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raysearch.data.corpora.corpus import RECOGNISED
from raysearch.report.clip_means import MEAN, PLANTED, clip_means, vote_shares
from raysearch.report.document import Column, Section, Table
from raysearch.report.plots import Curves, HeatMap, Line, Plot
from raysearch.selection import Matrix, interval
from raysearch.study.record import Record
from raysearch.study.wording import clean, number, percent

SHOWN_CLIPS = 20
"""rows of the table; the file has all clips"""
_POINTS = 41
"""of a curve"""
_PARTS = 10
"""of the clips, by confidence"""
_BY_CLIP = ("kfold", "split", "column")
"""protocols that hold out clips: their speakers may have been heard"""


def section(record: Record, predictions: pd.DataFrame | None) -> Section | None:
    """The clips in the order of the confidence in their label; None where none can be audited.

    Args:
        record: of the study.
        predictions: of every test clip; None where nobody has them. Numbers and the perception of
            single raters are not audited.
    """
    if predictions is None or record.continuous or record.raters:
        return None
    clips, joint = audited(predictions, record.classes)
    if clips.empty:
        return None
    who = "did not learn from the clip" if record.protocol in _BY_CLIP else "never heard the "
    who += "" if record.protocol in _BY_CLIP else f"clip's {record.unit}"
    return Section(
        "audit",
        "Label audit: clips whose label the models reject",
        (
            f"Each label is held against models that {who}: the mean probability of the settings "
            "with the best validation scores, ten at most. The first clips are those to listen to.",
            _suspected(joint, len(clips), record.classes),
            *_planted(clips),
        ),
        Table(_readable(clips.head(SHOWN_CLIPS)), _columns(clips)),
        (*_people(clips), "audit.csv has all clips; report format=html plays these."),
        plots=(_picture(joint, record.classes), *_agreement(clips), *_search(clips)),
        data={"audit": clips},
    )


def audited(predictions: pd.DataFrame, classes: Sequence[str]) -> tuple[pd.DataFrame, Matrix]:
    """A row a clip, those with the least confidence in their label first.

    Args:
        predictions: as of `tuning.outcomes`; clips without probabilities are left out. Those that
            several folds or seeds predicted have the mean.
        classes: K of them.

    Returns:
        The table, and the confident joint [K, K] off its diagonal, label by class, NaN on it. The
        table's columns: clip, fold, speaker, label (that was learnt from), likely (the class that
        is), confidence and likely_confidence (their probabilities), rejected (whether the confident
        joint counts the label as wrong); where they are known, votes (the share of them for the
        label), recognised, and corpus_label (where wrong labels are planted).
    """
    label = PLANTED if PLANTED in predictions else "label"
    rows, p = clip_means(predictions, classes, MEAN, label)
    if rows.empty:
        return rows, np.full((len(classes), len(classes)), np.nan)
    codes = pd.Index(classes).get_indexer(pd.Index(rows[label]))
    every, (joint, rejected) = np.arange(len(rows)), confident_joint(codes, p)
    best = p.argmax(axis=1)
    table = pd.DataFrame(
        {
            "clip": rows["clip"],
            "fold": rows["fold"],
            "speaker": rows["speaker"],
            "label": rows[label],
            "likely": np.asarray(classes, dtype=object)[best],
            "confidence": p[every, codes],
            "likely_confidence": p[every, best],
            "rejected": np.isin(every, rejected),
        }
    )
    votes = vote_shares(rows, classes, label)
    if votes is not None:
        table["votes"] = votes
    if RECOGNISED in rows:
        table[RECOGNISED] = pd.to_numeric(rows[RECOGNISED], errors="coerce")
    if label == PLANTED:
        table["corpus_label"] = rows["label"]
    ordered = table.sort_values("confidence", kind="stable", ignore_index=True)
    return ordered, np.where(np.eye(len(classes)), np.nan, joint)


def confident_joint(
    codes: NDArray[np.integer], p: Matrix
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many clips of a label [K] are confidently of a class [K], and which clips are of another.

    A clip is confidently of a class whose probability is at least the mean that this class has over
    the clips so labelled; of several, of the likeliest (Northcutt et al. 2021, eq. 1 and 2).

    Args:
        codes: [N] labels as class indices.
        p: [N, K] probabilities of a model that did not learn from the clip.

    Returns:
        [K, K] counts, label by class, and [n] the clips off its diagonal.
    """
    from cleanlab.count import compute_confident_joint

    joint, rows = compute_confident_joint(
        codes, p, calibrate=False, return_indices_of_off_diagonals=True
    )
    return joint, rows


def _suspected(joint: Matrix, n: int, classes: Sequence[str]) -> str:
    """How many labels are rejected, and which most."""
    count = int(np.nansum(joint))
    text = f"The confident joint rejects {count} of {n} labels ({percent(count / n)} %)"
    if count:
        a, b = divmod(int(np.nanargmax(joint)), len(classes))
        text += f", most often {classes[a]} that is rather {classes[b]} ({int(joint[a, b])})"
    return clean(
        f"{text}. A model's own errors look the same as wrong labels: listen before you correct "
        "one."
    )


# -- what is known beside the models ---------------------------------------------------------------
def _wrong(clips: pd.DataFrame) -> NDArray[np.bool_]:
    """[N] whose label was changed on purpose."""
    wrong: NDArray[np.bool_] = (clips["label"] != clips["corpus_label"]).to_numpy()
    return wrong


def _planted(clips: pd.DataFrame) -> list[str]:
    """How many of the planted labels are among the first clips."""
    if "corpus_label" not in clips or not (wrong := _wrong(clips)).any():
        return []
    n = int(wrong.sum())
    first, twice = (int(wrong[:top].sum()) for top in (n, 2 * n))
    chance = n * min(1.0, 2 * n / len(wrong))
    return [
        f"Planted labels: of {n} that were changed on purpose, {first} are among the first {n} "
        f"clips and {twice} among the first {min(2 * n, len(wrong))} (by chance {chance:.1f})."
    ]


def _heard(clips: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Who listened, what of it is known, and the clips with it as `share`."""
    sources = {
        "votes": ("raters", "the share of the raters' votes for the label"),
        RECOGNISED: ("listeners", "the share of listeners who heard the intended class"),
    }
    for name, (who, what) in sources.items():
        if name not in clips:
            continue
        heard = clips[clips[name].notna()]
        heard = heard.assign(share=heard[name])
        if name == RECOGNISED and "corpus_label" in heard:
            heard = heard[~_wrong(heard)]  # what was intended is the corpus's label
        if heard["share"].nunique() > 1:
            yield who, what, heard


def _people(clips: pd.DataFrame) -> list[str]:
    """What people who listened say of the labels that the models doubt."""
    lines = []
    for who, what, heard in _heard(clips):
        top = heard["share"].head(SHOWN_CLIPS)
        rank = heard["confidence"].rank().corr(heard["share"].rank())
        lines.append(
            f"{who}: {what} is {percent(float(top.mean()))} % on average for the first {len(top)} "
            f"clips that have it and {percent(float(heard['share'].mean()))} % for all "
            f"{len(heard)}; Spearman's correlation with the models' confidence is {number(rank)}."
        )
    return lines


# -- what is shown ---------------------------------------------------------------------------------
def _readable(clips: pd.DataFrame) -> pd.DataFrame:
    return clips.assign(rejected=np.where(clips["rejected"], "yes", "no"))


def _columns(clips: pd.DataFrame) -> tuple[Column, ...]:
    columns = [
        Column("clip", "clip", "clip"),
        Column("label", "label", "name"),
        Column("confidence", "its\n%", "percent"),
        Column("likely", "likelier", "name"),
        Column("likely_confidence", "its\n%", "percent"),
        Column("rejected", "rejected", "name"),
    ]
    further = (
        Column("votes", "raters'\n%", "percent"),
        Column(RECOGNISED, "listeners'\n%", "percent"),
        Column("corpus_label", "corpus's\nlabel", "name"),
    )
    return (*columns, *(one for one in further if one.name in clips))


def _picture(joint: Matrix, classes: Sequence[str]) -> HeatMap:
    names = tuple(clean(name) for name in classes)
    return HeatMap(
        "audit",
        "Rejected labels: clips off the diagonal of the confident joint",
        joint,
        names,
        names,
        y="label",
        x="class that is likelier",
        unit="clips",
        low=0.0,
    )


def _agreement(clips: pd.DataFrame) -> list[Plot]:
    """People's share for the label against the models' confidence in it, by parts of the clips."""
    lines = []
    for who, _, heard in _heard(clips):
        ordered = heard.sort_values("confidence", kind="stable")
        parts = np.array_split(np.arange(len(ordered)), min(_PARTS, len(ordered)))
        each = [ordered.iloc[rows] for rows in parts]
        x = tuple(float(100 * part["confidence"].mean()) for part in each)
        ends = [interval(100 * part["share"].to_numpy(dtype=np.float64)) for part in each]
        mean, low, high, _ = zip(*ends, strict=True)
        lines.append(Line(who, x, mean, low, high))
    title = "What people heard, by the models' confidence in the label (ten parts of the clips)"
    names = ("mean confidence in %", "for the label in %")
    return [Curves("audit_people", title, *names, tuple(lines))] if lines else []


def _search(clips: pd.DataFrame) -> list[Plot]:
    """The share of planted labels against the clips that one listens to."""
    if "corpus_label" not in clips or not (wrong := _wrong(clips)).any():
        return []
    n = len(wrong)
    share = np.cumsum(wrong) / wrong.sum()
    heard = np.unique(np.linspace(1, n, _POINTS).astype(int))
    x, nothing = tuple(heard.tolist()), (None,) * len(heard)
    lines = (
        Line("audit", x, tuple((100 * share[heard - 1]).tolist()), nothing, nothing),
        Line("by chance", x, tuple((100 * heard / n).tolist()), nothing, nothing),
    )
    title = "Planted labels among the first clips of the audit"
    return [Curves("audit_planted", title, "clips listened to", "planted labels in %", lines)]
