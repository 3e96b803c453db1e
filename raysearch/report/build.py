"""From a study's folder to a `Report`: reads it, scores it, and puts the sections in their order.

`reading` opens the files, `scoring` makes the tables and the estimates; every other file here
writes one kind of section from these two.
"""

from __future__ import annotations

from pathlib import Path

from raysearch.report.document import Report
from raysearch.report.scoring import race as race_of
from raysearch.report.scoring import score
from raysearch.report.sections import by_rater as raters
from raysearch.report.sections import comparisons as comparing
from raysearch.report.sections import curves, estimates, importance
from raysearch.report.sections import introduction as opening
from raysearch.report.sections import pareto as front
from raysearch.report.sections import published_tables as published
from raysearch.report.sections import selected_setting as selected
from raysearch.report.sections import trials as work
from raysearch.report.sections import tsne as layers
from raysearch.report.sections.tsne import Layers
from raysearch.study.folder import StudyFolder
from raysearch.study.record import Record


def build(folder: Path, whole: bool = False, layers_of: Layers | None = None) -> Report:
    """The report of the study kept in `folder`, finished or not.

    Args:
        folder: of the study.
        whole: with what takes seconds: the importance of parameters.
        layers_of: with pictures of the last layers of these trials.

    Raises:
        BadInput: the folder holds no study.
        ValueError: a trial said to be complete lacks a fold, or a score is not finite.
    """
    record = Record.read(StudyFolder(folder))
    scores = score(record)
    race = race_of(record, scores)
    uses = [use for row in record.fold_rows for use in row.stages]
    run = len({use.key for use in uses if use.made_here})
    spread = None if scores is None else estimates.seed_spread(record, scores)
    compared = () if scores is None else comparing.comparisons(record, scores)

    if scores is None:
        sections = [opening.no_result(record)]
    else:
        maybe = [
            estimates.section(record, scores, race),
            None if spread is None else estimates.seeds_section(record, scores, spread),
            raters.section(record, scores),
            raters.settings_section(record, scores),
            estimates.settings_section(record, scores),
            front.section(record, scores),
            *(comparing.section(found, record) for found in compared),
            estimates.folds_section(record, scores),
            published.section(record, scores),
            importance.section(record, scores) if whole else None,
            *curves.sections(record, scores),
            selected.clips_section(record, scores),
            selected.sets_section(record, scores),
            selected.classes_section(record, scores),
            None
            if layers_of is None
            else layers.section(record, scores.trials[scores.found.best].number, layers_of),
        ]
        sections = [section for section in maybe if section is not None]
    if record.trials:
        sections.append(work.trials_section(record))
        if race is not None:
            sections.append(work.race_section(race, record.states["complete"]))
        sections.append(work.stages_section(record, run, len(uses)))
    best = None if scores is None else scores.trials[scores.found.best]
    return Report(
        study=record.name,
        headline=opening.headline(record),
        warnings=opening.warnings(record, scores),
        sections=tuple(sections),
        facts=record.configuration,
        states=record.states,
        folds=tuple(fold.name for fold in record.folds),
        stages_run=run,
        stages_reused=len(uses) - run,
        seconds=sum(row.seconds for row in record.fold_rows),
        estimates=scores.found if scores else None,
        best_trial=best.number if best else None,
        best=dict(best.params) if best else {},
        race=race,
        comparisons=compared,
        seeds=spread,
    )
