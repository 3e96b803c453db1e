"""From a study to a model: the selected setting, trained on every speaker or taken from its folds.

What is made is tried in a process that has the model alone, before it is put anywhere.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysearch.cluster.code_copy import copy_code, modules_of
from raysearch.data.features.extract import local_chunks
from raysearch.errors import BadInput
from raysearch.models import archive as packing
from raysearch.models import refit as fitting
from raysearch.models.archive import How
from raysearch.models.model import perception
from raysearch.models.refit import Say
from raysearch.models.source import Source, source_of
from raysearch.study.wording import params as written


@dataclass(frozen=True)
class Exported:
    """A model that has been made."""

    place: str
    """URI or folder, as `predict model=` takes it"""
    facts: Mapping[str, Any]
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
    say: Say = lambda text: None,
) -> Exported:
    """Make a model of a study, and register it in MLflow, or write it into a folder.

    Args:
        folder: the study's.
        how: "refit" on all speakers, or the "ensemble" of the folds' networks.
        setting: "selected", or the number of a complete trial.
        name: of the registered model; None is the study's, and the rater's behind it.
        alias: that the new version gets.
        to: a folder that does not exist yet: the model is written there and registered nowhere.
        rater: whose perception, of the study's target raters; None where there is one or none.
        say: told what is being done.

    Raises:
        BadInput: the study, the setting, the rater or the method cannot be exported.
    """
    if to is not None and (name is not None or to.exists()):
        raise BadInput(
            f"to={to} exists already; name a new folder"
            if to.exists()
            else "to= writes a folder and registers nothing, so it takes no name="
        )
    if to is None:
        from raysearch.models import registering

        registering.check_names(name or folder.name, alias)
    say("reading the study")
    source = source_of(folder, setting, rater)
    if to is None:  # before minutes of training
        run = registering.run_of(source.study, source.instance)
    say("reading features")
    data = source.inputs.dataset(run_chunks=local_chunks)
    fit = fitting.refit if how == "refit" else fitting.ensemble
    members = fit(source, source.executor(), data, say)
    with tempfile.TemporaryDirectory(prefix="raysearch-model-") as scratch:
        place = Path(scratch, "data")
        place.mkdir()
        facts = packing.write(place, source, data, how, members)
        code = Path(scratch, "code")
        code.mkdir()
        copy_code(code, modules_of(source.study), without=[Path(source.study.home)])
        shutil.rmtree(code / "raysearch" / "files")  # searches, which a model has no use for
        example = packing.example(int(facts["speaker_clips"]))
        say("trying the model in a process that has nothing else")
        tried = packing.tried(place, code, example)
        package = packing.package(place, code, facts, example, tried)
        if to is not None:
            from raysearch.models import registering

            registering.save(package, to, Path(source.study.home))
            where = str(to)
        else:
            say("registering")
            called = name or _name(folder.name, source.rater)
            where = registering.register(package, called, alias, source.study, run)
    return Exported(where, facts, tuple(_lines(where, facts, source)))


def _name(study: str, rater: str) -> str:
    """What a model is called whose name nobody says: two raters' models are no versions of one."""
    plain = "".join(c if c.isalnum() or c in "_-" else "-" for c in rater)
    return f"{study}-{plain}" if rater else study


# -- what is told ----------------------------------------------------------------------------------
_GRAVE = ("synthetic", "simulated", "untrained")


def _lines(where: str, facts: Mapping[str, Any], source: Source) -> Iterator[str]:
    count = len(facts["members"])
    rater = facts["rater"]
    how = (
        f"trained on all {facts['clips']} {'rated' if rater else 'labelled'} clips"
        if facts["how"] == "refit"
        else f"the mean of {count} folds' networks"
    )
    yield f"{where}: {facts['method']}, trial {facts['trial']} of {facts['study']}, {how}"
    if told := perception(facts):
        rated = f"; {rater['name']} rated {rater['clips']} clips" if rater else ""
        yield f"it judges {told}{rated}"
    yield f"setting: {written(facts['setting'])}"
    for member in facts["members"] if facts["how"] == "refit" else ():
        told = ", ".join(f"{name} {n}" for name, n in member["epochs"].items())
        yield f"epochs (the median best of the folds): {told or 'none'}"
    ends = facts["expected"]["interval"]
    between = f" (95 % interval {100 * ends[0]:.1f} to {100 * ends[1]:.1f})" if ends else ""
    by = f" over the folds of {rater['name']}" if rater else ""
    yield (
        f"expect {100 * facts['expected']['ua']:.1f} % UA{between} on new speakers: the study's "
        f"honest estimate{by}, of trainings on fewer speakers"
    )
    if facts["normalise"] == "speaker":
        yield f"it needs {facts['speaker_clips']} clips of a speaker or more at a time"
    if facts["thresholds"] is not None:
        told = ", ".join(f"{name} {value:.2f}" for name, value in facts["thresholds"].items())
        yield f"a clip's classes are those above: {told}"
    for note in facts["notes"]:
        if note not in source.inputs.notes or any(word in note for word in _GRAVE):
            yield f"note: {note}"
    at = "" if Path(where).exists() else f" home={source.study.home}"
    yield f"predict: python -m raysearch predict model={where}{at} FILE.wav FOLDER/"
