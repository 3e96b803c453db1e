"""Protocols: how utterances are divided into train, validation and test.

- `loso`   leave one speaker out
- `loseso` leave one session out
- `loco`   leave one corpus out; validation is a share of the speakers of every other corpus
- `kfold`  stratified by class over utterances; speakers are on both sides, and the report says so
- `split`, `column`, `pairs`   of `divisions`

Validation is the next groups of the circle, or a share of the other speakers. It stops the
training, which flatters its own score; `select` holds out further groups that score a setting and
stop nothing.

What a fold holds out is a *group* (a speaker, a session, a corpus, a part), and the honest
estimate asks each fold which groups it tested and which it validated on.

Where a method learns one rater's perception, every clip of the speakers who were rated is divided,
whatever its label, and `rater_folds` makes a fold of each division for each target rater. Who is in
which part depends on no rating; which of the clips are scored, on the target's alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import BadInput
from raysearch.stages.divisions import (
    COLUMNS,
    natural,
    pair_name,
    pairs_of,
    parts_of,
    unknown_speakers,
    validated_by,
    values_of,
)
from raysearch.stages.grouping import joined
from raysearch.stages.validating import (
    ValidationRule,
    clips_of,
    next_groups,
    rank_of,
    share_of,
    shares_clips,
)

Rows = NDArray[np.int64]
Protocol = Literal["loso", "loseso", "loco", "kfold", "split", "column", "pairs"]

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Fold:
    """One division of the utterances; rows index the corpus table."""

    name: str
    """what it holds out"""
    index: int
    train: Rows
    validation: Rows
    """stops the training; scores the setting where `select` is empty"""
    test: Rows
    unlabelled: Rows
    """clips without label and votes, of nothing that is validated, selected or tested"""
    select: Rows
    """scores the setting without having stopped its training; may be empty"""
    test_groups: frozenset[str]
    """the units (speakers; utterances' parts for kfold) whose test scores this fold gives"""
    val_groups: frozenset[str]
    """the units whose labels this fold's validation and selection read"""
    undecided: Rows = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """clips with votes and no label, of nothing that is validated, selected or tested"""
    drawn_as: str = ""
    """whose random numbers its trainings draw, "" for its own name: folds that train on the same
    clips, to be tested on several parts, have one network"""
    rater: str = ""
    """whose perception is learnt and scored; "" where it is the corpus's label"""

    @property
    def unseen(self) -> Rows:
        """The rows that stages predict without their labels: selection first, then test."""
        return np.concatenate([self.select, self.test])

    @property
    def scoring(self) -> Rows:
        """The rows whose scores choose a setting."""
        return self.select if len(self.select) else self.validation


def divide(
    table: pd.DataFrame,
    classes: Sequence[str],
    *,
    protocol: Protocol = "loso",
    folds: int = 10,
    group: int | None = None,
    column: str | None = None,
    parts: Mapping[str, Sequence[str]] | None = None,
    validation: Literal["next", "share", "column"] = "next",
    speakers: int = 1,
    share: float = 0.2,
    select: int = 0,
    seed: int = 0,
    voted: NDArray[np.bool_] | None = None,
    rated: NDArray[np.bool_] | None = None,
    turn: int = 0,
) -> tuple[Fold, ...]:
    """The folds of a protocol, in an order that depends on the table alone.

    Args:
        table: the corpus table; rows with an empty label are the unlabelled part, or, where raters
            voted on them, the undecided part, of the folds that hold out neither their speaker nor
            their group nor the same clip.
        classes: class names in order.
        protocol: see the module.
        folds: number of folds of `kfold`.
        group: how many groups the speakers of `loso`, or the sessions of `loseso`, are joined into;
            None holds out each alone.
        column: of the table, which `split` and `column` read; None for their own.
        parts: the names of the parts of `split`; see `divisions.parts_of`.
        validation: `next` holds out the next groups of the circle as validation; `share` a seeded
            share of the remaining speakers, of each corpus. `loco` always takes a share. `column`:
            the clips whose own column `validation` names the fold (several: "1;2").
        speakers: how many groups `next` takes.
        share: share of speakers (at least one of each corpus), in (0, 0.5].
        select: how many further groups (speakers of each corpus under `share`) score a setting
            without stopping its training.
        seed: the study's seed; only shares and `kfold` depend on it.
        voted: [N] which rows have votes; None where none has.
        rated: [N] which rows raters' single ratings are divided by, whatever their label: these
            and no others, in the order of their ids. The parts of `kfold` are not stratified then.
            None where labels are learnt.
        turn: the same test parts, validated by others: `next` and `share` go on in their circle by
            so many validation parts. `inner_folds` has the use of it.

    Raises:
        BadInput: where the corpus cannot be divided so.
    """
    inside = (table["label"] != "").to_numpy() if rated is None else rated
    labelled = np.flatnonzero(inside)
    without = ~inside
    if rated is not None:
        labelled = labelled[np.argsort(table["id"].to_numpy(dtype=str)[labelled], kind="stable")]
        voted = None  # every rated clip is in a part
    voted = np.zeros(len(table), dtype=bool) if voted is None else voted
    extra = _Extra(np.flatnonzero(without), table, protocol)
    rows = table.iloc[labelled]
    rule = ValidationRule(protocol, validation, speakers, share, select, seed, turn)
    if protocol == "pairs":
        cuts = _pairs(rows, rule)
    elif protocol == "split":
        cuts = _split(rows, values_of(rows, protocol, column), parts or {}, rule)
    else:
        names = _names_of(rows, protocol, folds, column, seed, rated)
        cuts = _circle(rows, names, rule, rated, group)
    values = values_of(table, protocol, column) if protocol in COLUMNS else None
    division = []
    for index, cut in enumerate(cuts):
        held = cut.test | cut.validation | cut.select
        free = extra.trainable(labelled[held], cut.apart)
        if values is not None:
            free = free[np.isin(values[free], ["", *set(values[labelled[cut.train & ~held]])])]
        division.append(
            Fold(
                name=cut.name,
                index=index,
                train=labelled[cut.train & ~held],
                validation=labelled[cut.validation],
                test=labelled[cut.test],
                unlabelled=free[~voted[free]],
                select=labelled[cut.select],
                test_groups=frozenset(cut.unit[cut.test].tolist()),
                val_groups=frozenset(cut.unit[cut.validation | cut.select].tolist()),
                undecided=free[voted[free]],
                drawn_as=cut.drawn_as,
            )
        )
    # a rater's classes are checked where the rater is known
    _check(division, table, classes if rated is None else (), given=protocol in COLUMNS)
    return tuple(division)


@dataclass(frozen=True)
class _Cut:
    """One division of the labelled rows [n]."""

    name: str
    train: NDArray[np.bool_]
    """perhaps with rows that are held out, too"""
    test: NDArray[np.bool_]
    validation: NDArray[np.bool_]
    select: NDArray[np.bool_]
    unit: NDArray[np.str_]
    """of what a fold's groups are"""
    apart: frozenset[str]
    """groups that the fold holds out, where these are groups"""
    drawn_as: str = ""
    """of `Fold`"""


def _names_of(
    rows: pd.DataFrame,
    protocol: str,
    folds: int,
    column: str | None,
    seed: int,
    rated: NDArray[np.bool_] | None,
) -> NDArray[np.str_]:
    """[n] the group of each row; "" for what no fold tests."""
    if protocol == "kfold":
        return (_parts if rated is None else _even_parts)(rows, folds, seed)
    if protocol == "column":
        return values_of(rows, protocol, column)
    return _groups(rows, protocol)


def _circle(
    rows: pd.DataFrame,
    groups: NDArray[np.str_],
    rule: ValidationRule,
    rated: NDArray[np.bool_] | None,
    group: int | None,
) -> Iterator[_Cut]:
    """A fold for each group, in order."""
    protocol, single = rule.protocol, groups
    if group is not None:
        groups = joined(groups, rows["label"].to_numpy(dtype=str), group)
    names = sorted(set(groups.tolist()) - {""}, key=natural)
    circle = protocol != "loco" and rule.validation == "next"
    least = 1 if protocol == "column" else 2
    _check_enough(names, protocol, 2 + rule.speakers + rule.select if circle else least, group)
    named = validated_by(rows) if rule.validation == "column" else []
    by = "label" if protocol == "kfold" and rated is None else "corpus"
    strata = rows[by].to_numpy(dtype=str)
    unit = rows["id" if protocol in ("kfold", "column") else "speaker"].to_numpy(dtype=str)
    unit = groups if circle else unit
    everything = np.ones(len(rows), dtype=bool)
    for index, name in enumerate(names):
        test = groups == name
        if circle:
            val, chosen = next_groups(groups, names, index, rule)
        elif named:
            val, chosen = np.array([name in x for x in named]) & ~test, np.zeros_like(test)
        else:
            val, chosen = share_of(rows, strata, ~test, rule, shares_clips(rows, test, rule))
        apart = frozenset(single[(test | val | chosen) if circle else test].tolist())
        yield _Cut(name, everything, test, val, chosen, unit, apart)


def _split(
    rows: pd.DataFrame,
    values: NDArray[np.str_],
    named: Mapping[str, Sequence[str]],
    rule: ValidationRule,
) -> Iterator[_Cut]:
    """A fold for each test part; all are trained and validated on the same rows."""
    parts = parts_of(values, named)
    train, dev = np.isin(values, parts.train), np.isin(values, parts.dev)
    chosen = np.zeros(len(rows), dtype=bool)
    if not parts.dev or rule.select:
        by_clip = bool(unknown_speakers(rows[train]).any())
        strata = rows["corpus"].to_numpy(dtype=str)
        val, chosen = share_of(rows, strata, train, rule, by_clip)
        dev = dev if parts.dev else val
    unit = rows["id"].to_numpy(dtype=str)
    for name in parts.test:
        yield _Cut(name, train, values == name, dev, chosen, unit, frozenset({name}), "given")


def _pairs(rows: pd.DataFrame, rule: ValidationRule) -> Iterator[_Cut]:
    """A fold for each two corpora, validated on speakers of the one that it is trained on."""
    corpora = rows["corpus"].to_numpy(dtype=str)
    who = rows["speaker"].to_numpy(dtype=str)
    for a, b in pairs_of(corpora):
        val, chosen = share_of(rows, corpora, corpora == a, rule, by_clip=False)
        test, apart = corpora == b, frozenset({b})
        yield _Cut(pair_name(a, b), corpora == a, test, val, chosen, who, apart, drawn_as=a)


class _Extra:
    """The clips without a label, and which of them each fold may train on.

    Names are numbered once: those of a large corpus would be compared once a fold.
    """

    def __init__(self, rows: Rows, table: pd.DataFrame, protocol: str) -> None:
        self.rows = rows
        # `kfold` holds out no speaker: the same clip alone is left out
        by_speaker = [] if protocol == "kfold" else [table["speaker"].to_numpy(dtype=str)]
        names = [clips_of(table), *by_speaker] if len(rows) else []
        self._codes = [np.unique(each, return_inverse=True)[1] for each in names]
        self._groups: tuple[NDArray[np.str_], Rows] | None = None
        if len(rows) and protocol in ("loco", "loseso", "pairs"):
            self._groups = np.unique(_group_names(table.iloc[rows], protocol), return_inverse=True)

    def trainable(self, held: Rows, groups: frozenset[str]) -> Rows:
        """Those that a fold may train on, which holds out the rows `held` and these groups."""
        free = np.ones(len(self.rows), dtype=bool)
        for codes in self._codes:
            barred = np.zeros(int(codes.max(initial=-1)) + 1, dtype=bool)
            barred[codes[held]] = True
            free &= ~barred[codes[self.rows]]
        if self._groups is not None:
            # an unlabelled corpus may have no sessions: its clips are of none that is held out
            names, of_row = self._groups
            free &= ~np.isin(names, sorted(groups))[of_row]
        return self.rows[free]


def _check_enough(
    names: Sequence[str], protocol: str, least: int, group: int | None = None
) -> None:
    if len(names) >= least:
        return
    if group is not None:
        raise BadInput(
            f"protocol.group={group}: at least {least} groups are needed (train, validation, "
            "selection and test are kept apart); raise it, or write validation=share"
        )
    unit = {"loso": "speaker", "loseso": "session", "loco": "corpus"}.get(protocol, "part")
    units = {"corpus": "corpora"}.get(unit, unit + "s")
    there = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    raise BadInput(
        f"protocol={protocol} needs at least {least} {units} (train, validation, selection and "
        f"test are kept apart), but the corpus has {len(names)}: {there}; "
        + (
            "validation=share validates on a share of the others"
            if protocol == "column"
            else f"add {units}, or choose another protocol (protocol=kfold divides by utterance)"
        )
    )


def _groups(rows: pd.DataFrame, protocol: str) -> NDArray[np.str_]:
    if protocol == "loseso" and (missing := rows["session"] == "").any():
        raise BadInput(
            f"protocol=loseso needs a session for every utterance, but {int(missing.sum())} have "
            f"none (first: {rows['id'][missing].iloc[0]}); use protocol=loso, or give sessions"
        )
    return _group_names(rows, protocol)


def _group_names(rows: pd.DataFrame, protocol: str) -> NDArray[np.str_]:
    if protocol in ("loco", "loso", "pairs"):
        return rows["speaker" if protocol == "loso" else "corpus"].to_numpy(dtype=str)
    return (rows["corpus"] + "/" + rows["session"]).to_numpy(dtype=str)


def _parts(rows: pd.DataFrame, folds: int, seed: int) -> NDArray[np.str_]:
    """Stratified parts, named part-00 and so on; identical clips stay in one part."""
    from sklearn.model_selection import StratifiedGroupKFold

    labels = rows["label"].to_numpy(dtype=str)
    names, counts = np.unique(labels, return_counts=True)
    if counts.min() < folds:
        name = str(names[counts.argmin()])
        raise BadInput(
            f"protocol=kfold with protocol.folds={folds} needs at least {folds} clips of every "
            f"class, but {name!r} has {counts.min()}; lower protocol.folds or leave the class out"
        )
    part = np.empty(len(labels), dtype="<U8")
    divider = StratifiedGroupKFold(folds, shuffle=True, random_state=_state(seed))
    groups = clips_of(rows)
    for index, (_, test) in enumerate(divider.split(labels, labels, groups)):
        part[test] = f"part-{index:02d}"
    return part


def _state(seed: int) -> int | np.random.RandomState:
    """A seed for scikit-learn, which takes 32 bits alone."""
    if seed < 2**32:
        return seed
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))


def _even_parts(rows: pd.DataFrame, folds: int, seed: int) -> NDArray[np.str_]:
    """Parts of like size that no label decides; identical clips stay in one part."""
    clips = clips_of(rows)
    names = np.unique(clips)
    order = names[np.argsort(rank_of(names, seed), kind="stable")]
    if len(order) < folds:
        raise BadInput(
            f"protocol=kfold with protocol.folds={folds} needs as many clips, but there are "
            f"{len(order)}; lower protocol.folds"
        )
    place = {name: i % folds for i, name in enumerate(order.tolist())}
    return np.array([f"part-{place[name]:02d}" for name in clips.tolist()])


def _check(
    folds: Sequence[Fold], table: pd.DataFrame, classes: Sequence[str], *, given: bool
) -> None:
    """Every fold can train every class, and has something to validate and test on.

    What a given division has on two sides is told, not refused (`divisions.sides`).
    """
    labels = table["label"].to_numpy(dtype=str)
    # as numbers: texts of a large corpus would be compared once a fold
    place = {name: code for code, name in enumerate(classes)}
    codes = np.array([place.get(label, -1) for label in labels.tolist()], dtype=np.int64)
    names, clips = np.unique(clips_of(table), return_inverse=True)
    problems = []
    for fold in folds:
        # one place more, the last, for clips of no class: their code is -1
        trained = np.zeros(len(place) + 1, dtype=bool)
        trained[codes[fold.train]] = True
        absent = [name for name, code in place.items() if not trained[code]]
        if absent:
            problems.append(
                f"fold {fold.name!r} has no training clip of {', '.join(map(repr, absent))}: all "
                "of them are by its test and validation speakers; leave the class out with "
                "corpus.classes=[...], or add clips"
            )
        if not len(fold.validation):
            problems.append(
                f"fold {fold.name!r} has no validation clip: only one speaker is left beside the "
                "test; add speakers"
            )
        sides = np.zeros(len(names), dtype=np.int8)
        for rows in (fold.train, fold.validation, fold.unseen):
            there = np.zeros(len(names), dtype=bool)
            there[clips[rows]] = True
            sides += there
        both = np.flatnonzero(sides > 1)
        if len(both) and not given:
            first = table["id"].to_numpy(dtype=str)[np.isin(clips, both)]
            problems.append(
                f"fold {fold.name!r} has {len(both)} identical clips on two sides (first: "
                f"{', '.join(first[:2])}); leave one of them out"
            )
    if problems:
        raise BadInput(problems)
