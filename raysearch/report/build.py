"""From a study's record to a `Report`: its scores, and the sections in their order.

`scoring` makes the tables and the estimates; the files of `sections` write one kind of section each
from the record and these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd

from raysearch.report import sentences
from raysearch.report.document import Comparison, Race, Report, Section, SeedSpread
from raysearch.report.scoring import Scores, score
from raysearch.report.scoring import race as race_of
from raysearch.report.sections import (
    against_baseline,
    best_settings,
    by_attribute,
    by_rater,
    calibration,
    comparisons,
    confident_errors,
    corpus_pairs,
    curves,
    estimates,
    importance,
    label_audit,
    layer_weights,
    noise_curve,
    outer,
    pareto,
    published_tables,
    selected_setting,
    speaker_groups,
    trials,
    tsne,
)
from raysearch.report.sections.noise_curve import NoiseTest
from raysearch.report.sections.tsne import Layers
from raysearch.report.speaker_intervals import with_speaker_intervals
from raysearch.stages.store import Store
from raysearch.study.record import Record


def build(
    record: Record,
    whole: bool = False,
    layers_of: Layers | None = None,
    predictions: pd.DataFrame | None = None,
    noise: NoiseTest | None = None,
    store: Store | None = None,
) -> Report:
    """The report of a study, finished or not.

    Args:
        record: of the study.
        whole: with what takes seconds: the importance of parameters.
        layers_of: with pictures of the last layers of these trials.
        predictions: of every test clip: their errors, the audit, and the files of them.
        noise: with the selected setting's scores on test clips with noise.
        store: of the study, of which the report then tells the weights of an encoder's layers.

    Raises:
        ValueError: a trial said to be complete lacks a fold, or a score is not finite.
    """
    scores = score(record)
    if scores is not None:
        over = with_speaker_intervals(scores.estimates, record, scores.trials)
        scores = replace(scores, estimates=over)
    race = race_of(record, scores)
    spread = None if scores is None else estimates.seed_spread(record, scores)
    families = () if scores is None else comparisons.comparisons(record, scores)
    against = () if scores is None else tuple(against_baseline.sides(record))
    sections: list[Section | None] = [estimates.empty_section(record)]
    if scores is not None:
        sections = [
            *_results(record, scores, race, families, [section for _, section in against]),
            *_parameters(record, scores, families, whole),
            *_speakers(record, scores, spread),
            None if noise is None else noise_curve.section(record, scores, noise),
            confident_errors.section(record, predictions),
            label_audit.section(record, predictions),
            None if store is None else layer_weights.section(record, scores.best.number, store),
            None if layers_of is None else tsne.section(record, scores.best.number, layers_of),
        ]
    uses = [use for row in record.fold_rows for use in row.stages]
    run = len({use.key for use in uses if use.ours})
    return Report(
        study=record.name,
        headline=sentences.headline(record),
        warnings=sentences.warnings(record, scores),
        sections=tuple(one for one in [*sections, *_work(record, race)] if one is not None),
        facts=record.configuration,
        states=record.states,
        folds=tuple(fold.name for fold in record.folds),
        stages_run=run,
        stages_reused=len(uses) - run,
        seconds=sum(row.seconds for row in record.fold_rows),
        estimates=scores.estimates if scores else None,
        metrics=scores.shown if scores else ("ua", "wa"),
        best_trial=scores.best.number if scores else None,
        best=dict(scores.best.params) if scores else {},
        race=race,
        comparisons=(*families, *(family for family, _ in against)),
        seeds=spread,
        numbers=_figures(record, scores) if scores else {},
        predictions=predictions,
    )


def _figures(record: Record, scores: Scores) -> dict[str, float]:
    """Single figures that trackers show beside the estimates."""
    return calibration.figures(record, scores) | speaker_groups.figures(record, scores)


def _results(
    record: Record,
    scores: Scores,
    race: Race | None,
    families: tuple[Comparison, ...],
    against: Sequence[Section],
) -> Iterator[Section | None]:
    """What came out, which setting is best, what it means, and how others compare."""
    yield estimates.section(record, scores)
    yield corpus_pairs.section(record, scores)
    yield outer.section(record, scores)
    yield from against
    yield best_settings.best_section(record, scores)
    yield comparisons.strategy_section(families, record)
    yield estimates.meaning_section(record, scores, race)
    yield estimates.further_section(scores)
    yield published_tables.section(record, scores)
    yield best_settings.settings_section(record, scores)
    yield from (comparisons.section(one, record) for one in families if one.parameter is None)
    yield pareto.section(record, scores)


def _parameters(
    record: Record, scores: Scores, families: tuple[Comparison, ...], whole: bool
) -> Iterator[Section | None]:
    """Which parameters matter, and which of their values are better."""
    yield comparisons.joint_section(families, record)
    yield calibration.values_section(families, record, scores)
    yield from (comparisons.section(one, record) for one in families if one.parameter is not None)
    yield importance.section(record, scores) if whole else None
    yield from curves.sections(record, scores)


def _speakers(
    record: Record, scores: Scores, spread: SeedSpread | None
) -> Iterator[Section | None]:
    """For whom it works: speakers, seeds, raters, classes."""
    yield best_settings.folds_section(record, scores)
    yield None if spread is None else estimates.seeds_section(record, scores, spread)
    yield by_rater.section(record, scores)
    yield by_rater.settings_section(record, scores)
    yield selected_setting.classes_section(record, scores)
    yield by_attribute.section(record, scores)
    yield speaker_groups.section(record, scores)
    yield calibration.section(record, scores)
    yield selected_setting.sets_section(record, scores)
    yield selected_setting.clips_section(record, scores)


def _work(record: Record, race: Race | None) -> Iterator[Section]:
    """How it was run."""
    yield trials.about_section(record)
    if record.trials:
        yield trials.trials_section(record)
        if race is not None:
            yield trials.race_section(race, record.states["complete"])
        yield trials.stages_section(record)
