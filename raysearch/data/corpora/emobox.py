"""EmoBox's lists: official folds and labels of many corpora, over audio that lies elsewhere.

Ma et al., EmoBox: Multilingual Multi-corpus Speech Emotion Recognition Toolkit and Benchmark,
Interspeech 2024. Its metadata holds a folder a corpus: `NAME.jsonl` (key, wav, emo of each clip),
`label_map.json`, and `fold_K/NAME_train_fold_K.jsonl` and `NAME_test_fold_K.jsonl`. The column
`fold` of a clip is the fold that tests it, "" where none does, for `protocol=column`; EmoBox takes
its validation from the training utterances, as `validation=share` does.

EmoBox names no speaker. Where raysearch reads the corpus itself, speakers, sessions, sentences and
attributes are of that reader, by the clip's name; elsewhere the speaker is unknown, and nothing can
check whether a test speaker is heard in training. Audio is found by its name without folder and
suffix: EmoBox's own paths are those of its authors' disks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from raysearch.data.corpora import (
    casia,
    cremad,
    emodb,
    emovo,
    iemocap,
    msp_improv,
    msp_podcast,
    ravdess,
    savee,
)
from raysearch.data.corpora.columns import KNOWN
from raysearch.data.corpora.corpus import CorpusInfo, Options, Problem, Raw
from raysearch.data.corpora.folders import DECODED, audio_files
from raysearch.data.corpora.names import COMMON, common_name, in_order
from raysearch.data.corpora.readers import clip_row, clip_table, text_lines, with_root
from raysearch.errors import BadInput, near
from raysearch.stages.divisions import UNKNOWN

_FILES = (emodb, ravdess, cremad, iemocap, msp_improv, msp_podcast, emovo, savee, casia)
READERS: Mapping[str, CorpusInfo] = {file.INFO.name: file.INFO for file in _FILES}
"""the corpora whose speakers raysearch knows; EmoBox spells their names without underscores"""


def _metadata(root: Path, name: str) -> Path:
    """The folder of one corpus's lists."""
    for folder in (root, root / "data"):
        if (folder / name / f"{name}.jsonl").is_file():
            return folder / name
    if (root / f"{name}.jsonl").is_file():
        return root
    there = _names(root)
    raise BadInput(
        f"corpus.root={root} holds no lists of {name!r}{near(name, there)}: {LAYOUT}; those of "
        f"{', '.join(there) or 'no corpus'} are there."
    )


def _names(root: Path) -> list[str]:
    """The corpora whose lists lie in a folder."""
    lists = [*root.glob("*.jsonl"), *root.glob("*/*.jsonl"), *root.glob("data/*/*.jsonl")]
    return sorted({path.stem for path in lists if path.stem == path.parent.name})


def _only(root: Path) -> str:
    """The name of the one corpus whose lists are there."""
    names = _names(root)
    if len(names) == 1:
        return names[0]
    raise BadInput(
        f"corpus.root={root} holds the lists of {', '.join(names) or 'no corpus'}: {LAYOUT}, and "
        "name one by corpus.options={name: NAME, audio: DIR}."
    )


def _entries(path: Path) -> list[dict[str, str]]:
    """The entries of a jsonl list, as text."""
    entries = []
    for number, line in enumerate(text_lines(path), start=1):
        if not line:
            continue
        try:
            entry = json.loads(line)
            entries.append({name: str(entry[name]) for name in ("key", "wav", "emo")})
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(
                f"{path}, line {number}, is no entry with key, wav and emo: {error!r}."
            ) from None
    return entries


def _labels(folder: Path) -> dict[str, str]:
    """EmoBox's letters and words -> common class names; words in small letters too."""
    try:
        table = json.loads("\n".join(text_lines(folder / "label_map.json")))
        labels = {str(word): common_name(str(label)) for word, label in table.items()}
    except (ValueError, AttributeError) as error:
        raise BadInput(f"{folder / 'label_map.json'} is no map of labels: {error}.") from None
    words = {word.lower(): label for word, label in labels.items() if len(word) > 1}
    return words | labels


def _label(word: str, labels: Mapping[str, str]) -> str | None:
    """The class of a word of the lists, which its map may spell in other letters or not have."""
    common = common_name(word)
    return labels.get(word) or labels.get(word.lower()) or (common if common in COMMON else None)


def _folds(folder: Path, name: str, notes: list[str]) -> dict[str, str]:
    """Key -> the fold that tests it."""
    fold_of: dict[str, str] = {}
    again = 0
    for path in sorted(folder.glob("fold_*"), key=lambda p: (len(p.name), p.name)):
        test = path / f"{name}_test_{path.name}.jsonl"
        for entry in _entries(test):
            again += entry["key"] in fold_of
            fold_of.setdefault(entry["key"], path.name)
    if again:
        notes.append(
            f"{name}: {again} entries are in the test lists of two folds; the first one tests them."
        )
    if not fold_of:
        notes.append(f"{name}: EmoBox gives no folds here; protocol=column cannot be used.")
    return fold_of


def _about(name: str, audio: Path) -> Mapping[str, Mapping[str, str]]:
    """By the clip's name what raysearch's own reader knows; {} where there is no such reader."""
    reader = next((x for key, x in READERS.items() if key.replace("_", "") == name), None)
    if reader is None:
        return {}
    raw = reader.read(audio, options={}, seed=0, home=Path(), progress=None)
    columns = [c for c in ("speaker", "session", "transcript", *KNOWN) if c in raw.table]
    frame: pd.DataFrame = raw.table.assign(
        **{c: raw.table[c].str.removeprefix(reader.name + "/") for c in ("speaker", "session")}
    )
    stems = [Path(path).stem for path in raw.table["path"]]
    lines = [dict(zip(columns, map(str, row), strict=True)) for row in frame[columns].to_numpy()]
    return dict(zip(stems, lines, strict=True))


def _finder(audio: Path) -> Callable[[str], Path | None]:
    """What finds a clip by EmoBox's path: by name, and by folders where names are not enough."""
    by_stem: dict[str, list[Path]] = {}
    for path in audio_files(audio, deep=True, suffixes=DECODED):
        by_stem.setdefault(path.stem.lower(), []).append(path)

    def find(wav: str) -> Path | None:
        asked = [part.lower() for part in Path(wav).with_suffix("").parts][::-1]

        def alike(path: Path) -> int:
            parts = [part.lower() for part in path.with_suffix("").parts][::-1]
            pairs = zip(asked, parts, strict=False)
            return next((n for n, (a, b) in enumerate(pairs) if a != b), len(asked))

        return max(by_stem.get(asked[0], []), key=alike, default=None)

    return find


def _read(root: Path, options: Options) -> Raw:
    name = str(options.get("name") or "") or _only(root)
    folder = _metadata(root, name)
    place = Path(str(options.get("audio") or root)).expanduser()
    if not place.is_dir():
        raise BadInput(f"corpus.options.audio={place} is no folder.")
    notes: list[str] = []
    entries, labels = _entries(folder / f"{name}.jsonl"), _labels(folder)
    fold_of, about = _folds(folder, name, notes), _about(name, place)
    find = _finder(place)
    rows, problems = [], []
    for entry in entries:
        path, stem = find(entry["wav"]), Path(entry["wav"]).stem
        clip = entry["key"].removeprefix(f"{name}-")
        fault, label = "", None
        if path is None:
            fault = f"the audio of {entry['wav']} is not below {place}"
        elif (label := _label(entry["emo"], labels)) is None:
            fault = (
                f"the label {entry['emo']!r} is not in label_map.json{near(entry['emo'], labels)}"
            )
        if fault or path is None or label is None:
            sentence = f"{name}/{clip}: {fault}."
            cause = fault if path else "audio is missing"
            kind = "label" if path else "missing"
            problems.append(Problem(kind, "error", name, f"{name}/{clip}", sentence, cause))
            continue
        own = about.get(path.stem, about.get(stem, {}))
        rows.append(
            clip_row(
                name,
                clip,
                path,
                own.get("speaker") or UNKNOWN,
                label,
                transcript=own.get("transcript", ""),
                session=own.get("session", ""),
                further={
                    **{x: own[x] for x in KNOWN if x in own},
                    "fold": fold_of.get(entry["key"], ""),
                },
            )
        )
    table = clip_table(rows)
    notes += _counts(name, entries, fold_of, table, len(about))
    return Raw(table, in_order(table["label"]), notes=tuple(notes), problems=tuple(problems))


def _counts(
    name: str,
    entries: list[dict[str, str]],
    fold_of: Mapping[str, str],
    table: pd.DataFrame,
    known: int,
) -> list[str]:
    """What EmoBox lists beside what is there."""
    folds = len(set(fold_of.values()))
    notes = [
        f"{name}: EmoBox lists {len(entries)} clips, of which {len(table)} are here, and "
        f"{folds} {'fold that tests' if folds == 1 else 'folds that test'} {len(fold_of)} of them"
        + (f"; raysearch's own reader finds {known} clips." if known else ".")
    ]
    if (table["speaker"] == f"{name}/{UNKNOWN}").any():
        notes.append(
            f"{name}: EmoBox names no speaker, and raysearch cannot read them from the files' "
            "names: normalise=speaker, protocol=loso and intervals over speakers are not to be had."
        )
    return notes


LAYOUT = "give the folder of EmoBox's metadata, which holds NAME/NAME.jsonl or data/NAME/NAME.jsonl"
INFO = CorpusInfo(
    name="emobox",
    description="any corpus of EmoBox, by its lists: official folds for protocol=column",
    read=with_root(_read),
    source="https://github.com/emo-box/EmoBox (MIT)",
    layout=LAYOUT,
    options={
        "name": "the corpus, as EmoBox calls it: emodb, ravdess, ... (default: the only one)",
        "audio": "the folder that holds its audio, anywhere below (default: corpus.root)",
    },
    counted="EmoBox's own lists",
)
