"""The commands `export` and `predict`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from raysearch.cli.commands import COMMANDS
from raysearch.cli.words import read_words
from raysearch.errors import BadInput
from raysearch.models.export import export
from raysearch.models.predict import PredictionTable, open_model, predict
from raysearch.study.folder import study_folder

_KEYS = {key.name for key in COMMANDS["predict"].keys}


def export_model(words: Sequence[str]) -> str:
    """Export a study's model, and say what it is."""
    values = read_words(words, COMMANDS["export"].keys)
    model = export(
        study_folder(Path(values["home"]), values["study"]).path,
        how=values["how"],
        setting=values["setting"],
        name=values["name"],
        alias=values["alias"],
        to=Path(values["to"]) if values["to"] else None,
        rater=values["rater"],
        temperature=values["temperature"],
        say=lambda sentence: print(f"raysearch: {sentence}", file=sys.stderr),
    )
    return "\n".join(model.lines)


def predict_files(words: Sequence[str]) -> int:
    """Print what a model makes of files; 1 where some of them could not be predicted.

    Raises:
        BadInput: a word or the model cannot be used, or no file could be predicted.
    """
    pairs = [word for word in words if _is_pair(word)]
    values = read_words(pairs, COMMANDS["predict"].keys)
    paths = [word for word in words if word not in pairs]
    problems = []
    if not paths:
        problems.append("predict needs audio files or folders, as in clips/ one.wav")
    speaker = _speaker(values["speaker"], problems)
    if problems:
        raise BadInput(problems)
    with ExitStack() as stack:
        model = open_model(
            values["model"],
            stack,
            home=Path(values["home"]),
            tracking=values["tracking"],
        )
        if model.other_code:
            print(
                "raysearch: other code made this model (raysearch "
                f"{model.facts['raysearch']}) than predicts here; its own code is in its folder "
                "code",
                file=sys.stderr,
            )
        predictions = predict(model, paths, speaker)
    sentences = tuple(sentence for _, sentence in predictions.failures)
    if not len(predictions.table):
        raise BadInput(sentences)
    print(_in_format(predictions, values["format"]), end="")
    if model.by_speaker:
        print(f"raysearch: {_speakers(predictions, values['speaker'])}", file=sys.stderr)
    for sentence in sentences:
        print(f"raysearch: {sentence}", file=sys.stderr)
    return 1 if sentences else 0


def _is_pair(word: str) -> bool:
    """Whether a word is key=value: of a key of this command, or like one and no path that is."""
    key, equals, _ = word.partition("=")
    return bool(equals) and (key in _KEYS or (key.isidentifier() and not Path(word).exists()))


def _speaker(rule: str, problems: list[str]) -> re.Pattern[str] | str:
    if rule in ("folder", "one"):
        return rule
    try:
        pattern = re.compile(rule)
    except re.error as error:
        problems.append(f"speaker={rule} is no regular expression: {error}")
        return rule
    if pattern.groups != 1:
        problems.append(
            f"speaker={rule} must be folder (clips of one folder are one speaker's), one (all "
            "clips are), or a regular expression with one group that finds the speaker in a "
            "file's name, as in '^(..)'"
        )
    return pattern


def _speakers(predictions: PredictionTable, rule: str) -> str:
    """What was taken for a speaker, by whose clips each clip was normalised."""
    counts = predictions.table["speaker"].value_counts(sort=False)
    several = [f"{name or '?'} ({n} clips)" for name, n in counts.items()]
    first = ", ".join(several[:5]) + (f", and {len(several) - 5} more" if several[5:] else "")
    what = {"folder": "each folder is taken for one speaker", "one": "all clips are one speaker's"}
    return (
        f"this model is normalised by speaker, and with speaker={rule} "
        f"{what.get(rule, 'a name tells whose clip it is')}: {first}; clips sorted by emotion, "
        "or of several speakers in a folder, need speaker=one or a regular expression (--help)"
    )


def _in_format(predictions: PredictionTable, kind: str) -> str:
    """The table of the clips as text, csv or json."""
    table, classes = predictions.table, predictions.classes
    if not table["speaker"].any():
        table = table.drop(columns="speaker")
    if kind == "csv":
        return table.to_csv(index=False)
    if kind == "json":
        what = "attributes" if predictions.numbers else "probabilities"
        facts = [name for name in table.columns if name not in classes]
        clips = [
            {name: row[name] for name in facts} | {what: {name: row[name] for name in classes}}
            for row in table.to_dict("records")
        ]
        failures = [{"file": file, "reason": reason} for file, reason in predictions.failures]
        content = {"clips": clips, "failed": failures}
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    percentages = table.astype({name: object for name in classes})
    for name in classes:
        percentages[name] = [
            f"{value:.2f}" if predictions.numbers else f"{100 * value:.1f} %"
            for value in table[name]
        ]
    return percentages.to_string(index=False) + "\n"
