"""From a study to a model: the selected setting, trained on every speaker or taken from its folds.

What is made is tried in a process that has the model alone, before it is put anywhere.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from raysearch.cluster.code_copy import copy_code, modules_of
from raysearch.data.features.extract import local_chunks
from raysearch.errors import BadInput
from raysearch.models import archive
from raysearch.models.archive import How, Temperature
from raysearch.models.model import Facts, expected_words, perception
from raysearch.models.refit import Say, ensemble, refit
from raysearch.models.registering import Package, check_names, register, run_of, save
from raysearch.models.source import Source, source_of
from raysearch.stages.outage import telling
from raysearch.stages.temporary import temporary_folder
from raysearch.study.wording import grave
from raysearch.study.wording import params as written


@dataclass(frozen=True)
class ModelExport:
    """A model, and where it is."""

    place: str
    """URI or folder, as `predict model=` takes it"""
    facts: Facts
    """model.json"""
    lines: tuple[str, ...]
    """what a person must know"""


def export(
    folder: Path,
    *,
    how: How = "refit",
    setting: str | int = "selected",
    name: str | None = None,
    alias: str = "champion",
    to: Path | None = None,
    rater: str | None = None,
    temperature: Temperature = "none",
    say: Say = lambda text: None,
) -> ModelExport:
    """Make a model of a study, and register it in MLflow, or write it into a folder.

    Args:
        folder: the study's.
        how: "refit" on all speakers, or the "ensemble" of the folds' networks.
        setting: "selected", or the number of a complete trial.
        name: of the registered model; None is the study's, and the rater's behind it.
        alias: that the new version gets.
        to: a folder that does not exist yet: the model is written there and registered nowhere.
        rater: whose perception, of the study's target raters; None where there is one or none.
        temperature: "fitted" on the folds' validation clips, or "none".
        say: hears what is being done.

    Raises:
        BadInput: the study, the setting, the rater or the method cannot be exported.
    """
    if to is not None:
        _check_place(to, name)
    else:
        check_names(name or folder.name, alias)
    say("reading the study")
    source = source_of(folder, setting, rater)
    if to is None:  # before minutes of training
        run = run_of(source.study, source.instance)
    if source.study.task.continuous and temperature == "fitted":
        raise BadInput(
            "temperature=fitted is for models of classes, but this one gives numbers; leave it out"
        )
    heat = archive.temperature(source) if temperature == "fitted" else None
    say("reading features")
    data = source.inputs.dataset(run_chunks=local_chunks)
    train, store = refit if how == "refit" else ensemble, source.store
    with telling(store.place, lambda: store.trouble, say):
        members = train(source, source.executor(), data, say)
    with temporary_folder("raysearch-model-") as scratch:
        place = scratch / "data"
        place.mkdir()
        facts = archive.write(place, source, data, how, members, heat)
        package = _package(scratch, source, facts, say)
        if to is not None:
            save(package, to, Path(source.study.home))
            where = str(to)
        else:
            say("registering")
            model_name = name or _name(folder.name, source.rater)
            where = register(package, model_name, alias, source.study, run)
    return ModelExport(where, facts, tuple(_lines(where, facts, source)))


def _check_place(to: Path, name: str | None) -> None:
    if to.exists():
        raise BadInput(f"to={to} exists already; name a new folder")
    if name is not None:
        raise BadInput("to= writes a folder and registers nothing, so it takes no name=")


def _package(scratch: Path, source: Source, facts: Facts, say: Say) -> Package:
    """The model in `scratch`/data with its code, tried in a process of its own."""
    place, code = scratch / "data", scratch / "code"
    code.mkdir()
    copy_code(code, modules_of(source.study), without=[Path(source.study.home)])
    shutil.rmtree(code / "raysearch" / "files")  # searches, which a model has no use for
    example = archive.example(int(facts["speaker_clips"]))
    say("trying the model in a process that has nothing else")
    answer = archive.try_alone(place, code, example)
    requirements = tuple(archive.requirements(answer["modules"]))
    return Package(place, tuple(sorted(code.iterdir())), facts, tuple(example), requirements)


def _name(study: str, rater: str) -> str:
    """What a model is called whose name nobody says: two raters' models are no versions of one."""
    plain = "".join(c if c.isalnum() or c in "_-" else "-" for c in rater)
    return f"{study}-{plain}" if rater else study


# -- what a person must know ------------------------------------------------------------------
def _lines(where: str, facts: Facts, source: Source) -> Iterator[str]:
    count = len(facts["members"])
    rater = facts["rater"]
    how = (
        f"trained on all {facts['clips']} {'rated' if rater else 'labelled'} clips"
        if facts["how"] == "refit"
        else f"the mean of {count} folds' networks"
    )
    yield f"{where}: {facts['method']}, trial {facts['trial']} of {facts['study']}, {how}"
    if text := perception(facts):
        rated = f"; {rater['name']} rated {rater['clips']} clips" if rater else ""
        yield f"it judges {text}{rated}"
    yield f"setting: {written(facts['setting'])}"
    for member in facts["members"] if facts["how"] == "refit" else ():
        text = ", ".join(f"{name} {n}" for name, n in member["epochs"].items())
        yield f"epochs (the median best of the folds): {text or 'none'}"
    ends = facts["expected"]["interval"]
    between = ""
    if ends:
        low, high = (f"{x:.3f}" if facts["numbers"] else f"{100 * x:.1f}" for x in ends)
        between = f" (95 % interval {low} to {high})"
    by = f" over the folds of {rater['name']}" if rater else ""
    yield (
        f"expect {expected_words(facts)}{between} on new speakers: the study's "
        f"honest estimate{by}, of trainings on fewer speakers"
    )
    if facts["normalise"] == "speaker":
        yield (
            f"it needs {facts['speaker_clips']} clips of a speaker or more at a time; predict "
            "takes each folder for a speaker, unless speaker=one or speaker=REGEX says otherwise"
        )
    if facts["temperature"] is not None:
        yield (
            f"its probabilities are at the temperature {facts['temperature']:.3f}, fitted on the "
            "folds' validation clips"
        )
    if facts["thresholds"] is not None:
        text = ", ".join(f"{name} {value:.2f}" for name, value in facts["thresholds"].items())
        yield f"a clip's classes are those above: {text}"
    for note in facts["notes"]:
        if note not in source.inputs.notes or grave(note):
            yield f"note: {note}"
    at = "" if Path(where).exists() else f" home={source.study.home}"
    yield f"predict: python -m raysearch predict model={where}{at} FILE.wav FOLDER/"
