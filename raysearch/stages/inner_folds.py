"""The folds of a search that never hears one held-out group: Varma and Simon's inner loop.

For a fold f of a study, the inner folds are f itself, and f with each of its other possible
validation parts: the group that f tests is in no part that trains, stops or scores, and every inner
fold trains on as many clips as the study's own do (but for groups of unlike size). The first inner
fold *is* f, under its keys and its seeds: what the study has computed for f serves the inner
search, and the setting that the search chooses has been trained for its test already.

Varma, S. and Simon, R. (2006): Bias in error estimation when using cross-validation for model
selection. BMC Bioinformatics 7:91.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count

from raysearch.errors import BadInput
from raysearch.stages.folds import Fold


def inner_folds(
    folds: Sequence[Fold], again: Callable[[int], Sequence[Fold]], most: int | None = None
) -> tuple[tuple[Fold, ...], ...]:
    """By fold of a study, the folds of a search for what it holds out.

    Args:
        folds: of the study, K of them.
        again: turn -> the K folds of the same division, after so many turns of who validates.
        most: how many inner folds each gets at most, at least 1; None: all there are.

    Returns:
        K tuples. The first of each is the study's fold, but for its index; no two of one tuple
        validate on the same clip.

    Raises:
        BadInput: a division has no training clip of a class.
    """
    inner: list[list[Fold]] = [[replace(fold, index=0)] for fold in folds]
    heard = [set(fold.validation.tolist()) for fold in folds]
    for turn in count(1):
        if most is not None and turn >= most:
            break
        turned = [
            fold
            for fold, before in zip(_turned(again, turn), heard, strict=True)
            if len(inner[fold.index]) == turn and before.isdisjoint(fold.validation.tolist())
        ]
        if not turned:
            break
        for fold in turned:
            heard[fold.index] |= set(fold.validation.tolist())
            inner[fold.index].append(_named(fold, turn))
    return tuple(tuple(each) for each in inner)


def _turned(again: Callable[[int], Sequence[Fold]], turn: int) -> Sequence[Fold]:
    try:
        return again(turn)
    except BadInput as error:
        raise BadInput(
            [f"search.outer=true lets others validate, and then {each}" for each in error.problems]
        ) from None


def _named(fold: Fold, turn: int) -> Fold:
    """A fold under a name of its own: its trainings draw random numbers of their own."""
    other = f", turn {turn}"
    return replace(
        fold,
        name=f"{fold.name}{other}",
        index=turn,
        drawn_as=f"{fold.drawn_as}{other}" if fold.drawn_as else "",
    )
