"""EmoBox's lists: official folds and labels of many corpora, over audio that lies elsewhere.

Ma et al., EmoBox: Multilingual Multi-corpus Speech Emotion Recognition Toolkit and Benchmark,
Interspeech 2024. Its metadata holds a folder a corpus: `NAME.jsonl` (key, wav, emo of each clip),
`label_map.json`, and in `fold_K` the lists `NAME_train_fold_K.jsonl`, `NAME_test_fold_K.jsonl` and,
of some corpora, `valid` or several of `test1`, `test2`, ... The column `fold` of a clip is the fold
that tests it, "" where none does, for `protocol=column`; `validation` has the folds whose `valid`
list it is in, for `validation=column`. Where there is one fold, `split` is the list that a clip is
in, for `protocol=split`. Without a `valid` list EmoBox takes its validation from the training
utterances at random; `validation=share` takes a share of their speakers.

EmoBox names no speaker. Where raysearch reads the corpus itself, speakers, sessions, sentences and
attributes are of that reader; elsewhere `corpus.options.speaker` may find them in the files' names.
Of other clips the speaker is unknown, and nothing can check whether a test speaker is heard in
training. Audio is found by its name without folder and suffix, and by folders where several files
have that name: EmoBox's own paths are those of its authors' disks.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from raysearch.data.corpora.problems import count_notices
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


@dataclass(frozen=True)
class _Lists:
    """By key, in which of its folds' lists a clip is."""

    fold: Mapping[str, str]
    """the fold that tests it"""
    validation: Mapping[str, str]
    """the folds that validate on it, as "fold_1;fold_2" """
    split: Mapping[str, str]
    """train, valid, test, test1, ..., where there is one fold"""

    def of(self, key: str) -> dict[str, str]:
        """The columns of a clip."""
        columns = {"fold": self.fold.get(key, "")}
        if self.validation:
            columns["validation"] = self.validation.get(key, "")
        if self.split:
            columns["split"] = self.split.get(key, "")
        return columns


def _lists(folder: Path, name: str, notes: list[str]) -> _Lists:
    fold: dict[str, str] = {}
    valid: dict[str, list[str]] = {}
    split: dict[str, str] = {}
    again = 0
    folds = sorted(folder.glob("fold_*"), key=lambda path: (len(path.name), path.name))
    for path in folds:
        files = path.glob(f"{name}_*_{path.name}.jsonl")
        parts = {x.stem.removeprefix(f"{name}_").removesuffix(f"_{path.name}"): x for x in files}
        # test before test1: the numbered lists are parts of the other
        for part, file in sorted(parts.items()):
            keys = [entry["key"] for entry in _entries(file)]
            split |= dict.fromkeys(keys, part)
            if part == "valid":
                for key in keys:
                    valid.setdefault(key, []).append(path.name)
            elif part.startswith("test"):
                again += sum(fold.get(key, path.name) != path.name for key in keys)
                fold = dict.fromkeys(keys, path.name) | fold
    if again:
        notes.append(
            f"{name}: {again} entries are in the test lists of two folds; the first one tests them."
        )
    if not fold:
        notes.append(f"{name}: EmoBox gives no folds here; protocol=column cannot be used.")
    joined = {key: ";".join(names) for key, names in valid.items()}
    return _Lists(fold, joined, split if len(folds) == 1 else {})


def _about(name: str, audio: Path) -> Mapping[str, Mapping[str, str]]:
    """By the clip's file what raysearch's own reader knows; {} where there is no such reader."""
    reader = _reader(name)
    if reader is None:
        return {}
    raw = reader.read(audio, options={}, seed=0, home=Path(), progress=None)
    columns = [c for c in ("speaker", "session", "transcript", *KNOWN) if c in raw.table]
    frame: pd.DataFrame = raw.table.assign(
        **{c: raw.table[c].str.removeprefix(reader.name + "/") for c in ("speaker", "session")}
    )
    lines = [dict(zip(columns, map(str, row), strict=True)) for row in frame[columns].to_numpy()]
    return dict(zip(map(os.path.realpath, raw.table["path"]), lines, strict=True))


def _reader(name: str) -> CorpusInfo | None:
    """raysearch's own reader of the corpus."""
    return next((x for key, x in READERS.items() if key.replace("_", "") == name), None)


def _finder(audio: Path) -> Callable[[str], list[Path]]:
    """What finds the files of EmoBox's path: by name, and by folders where names are not enough.

    Several where folders do not tell them apart. `JE_n23` is also `JE/n23`.
    """
    by_stem: dict[str, list[Path]] = {}
    for path in audio_files(audio, deep=True, suffixes=DECODED):
        for stem in (path.stem, f"{path.parent.name}_{path.stem}"):
            by_stem.setdefault(stem.lower(), []).append(path)

    def find(wav: str) -> list[Path]:
        asked = [part.lower() for part in Path(wav).with_suffix("").parts][::-1]

        def alike(path: Path) -> int:
            parts = [part.lower() for part in path.with_suffix("").parts][::-1]
            pairs = zip(asked, parts, strict=False)
            return next((n for n, (a, b) in enumerate(pairs) if a != b), len(asked))

        candidates = by_stem.get(asked[0], [])
        most = max(map(alike, candidates), default=0)
        return [path for path in candidates if alike(path) == most]

    return find


def _speaker_pattern(options: Options) -> re.Pattern[str] | None:
    """`corpus.options.speaker`, a pattern whose first group is the speaker in a file's name."""
    text = options.get("speaker")
    if text is None:
        return None
    try:
        pattern = re.compile(str(text))
    except re.error as error:
        raise BadInput(
            f"corpus.options.speaker={text} is no regular expression: {error}."
        ) from None
    if not pattern.groups:
        raise BadInput(
            f"corpus.options.speaker={text} has no group: put what names the speaker into "
            "brackets, as '^(SM[0-9]+)'."
        )
    return pattern


def _read(root: Path, options: Options) -> Raw:
    name = str(options.get("name") or "") or _only(root)
    folder = _metadata(root, name)
    place = Path(str(options.get("audio") or root)).expanduser()
    if not place.is_dir():
        raise BadInput(f"corpus.options.audio={place} is no folder.")
    pattern = _speaker_pattern(options)
    notes: list[str] = []
    entries, labels = _entries(folder / f"{name}.jsonl"), _labels(folder)
    lists, about = _lists(folder, name, notes), _about(name, place)
    find = _finder(place)
    rows, problems = [], []
    for entry in entries:
        paths, label = find(entry["wav"]), _label(entry["emo"], labels)
        clip = entry["key"].removeprefix(f"{name}-")
        if len(paths) != 1 or label is None:
            problems.append(_problem(name, clip, entry, paths, place, labels))
            continue
        own = about.get(os.path.realpath(paths[0]), {})
        match = None if pattern is None else pattern.search(paths[0].stem)
        rows.append(
            clip_row(
                name,
                clip,
                paths[0],
                (match and match[1]) or own.get("speaker") or UNKNOWN,
                label,
                transcript=own.get("transcript", ""),
                session=own.get("session", ""),
                further={**{x: own[x] for x in KNOWN if x in own}, **lists.of(entry["key"])},
            )
        )
    table = clip_table(rows)
    notes += _notes(name, entries, lists, table, len(about))
    problems += _differences(name, entries, table)
    return Raw(table, in_order(table["label"]), notes=tuple(notes), problems=tuple(problems))


def _problem(
    name: str,
    clip: str,
    entry: Mapping[str, str],
    paths: Sequence[Path],
    place: Path,
    labels: Mapping[str, str],
) -> Problem:
    """What is wrong with an entry: its audio, or its label."""
    kind = cause = ""
    if not paths:
        fault, kind = f"the audio of {entry['wav']} is not below {place}", "missing"
        cause = "audio is missing"
    elif len(paths) > 1:
        fault, kind = f"{entry['wav']} may be {paths[0]} or {paths[1]}", "name"
        cause = "several files have its name; lay them into folders as EmoBox's paths do"
        fault = f"{fault}: {cause}"
    else:
        fault = f"the label {entry['emo']!r} is not in label_map.json{near(entry['emo'], labels)}"
        kind, cause = "label", fault
    return Problem(kind, "error", name, f"{name}/{clip}", f"{name}/{clip}: {fault}.", cause)


def _notes(
    name: str,
    entries: Sequence[Mapping[str, str]],
    lists: _Lists,
    table: pd.DataFrame,
    known: int,
) -> list[str]:
    """What EmoBox lists beside what is there, and what cannot be known."""
    folds = len(set(lists.fold.values()))
    notes = [
        f"{name}: EmoBox lists {len(entries)} clips, of which {len(table)} are here, and "
        f"{folds} {'fold that tests' if folds == 1 else 'folds that test'} {len(lists.fold)} of "
        "them" + (f"; raysearch's own reader finds {known} clips." if known else ".")
    ]
    if unknown := int((table["speaker"] == f"{name}/{UNKNOWN}").sum()):
        notes.append(
            f"{name}: EmoBox names no speaker, and those of {unknown} clips are not known: "
            "normalise=speaker, protocol=loso and intervals over speakers are not to be had; where "
            "files' names tell the speaker, say how: corpus.options.speaker='^(PATTERN)'."
        )
    return notes


def _differences(
    name: str, entries: Sequence[Mapping[str, str]], table: pd.DataFrame
) -> list[Problem]:
    """Notices on counts that are not those of EmoBox's own table, or of the corpus's authors."""
    reader = _reader(name)
    problems: list[Problem] = []
    if reader is not None and sum(reader.published.values()) == len(entries):
        problems = count_notices(replace(reader, name=name, speakers=None), table)
    if name not in PUBLISHED:
        return problems
    known = table["speaker"] != f"{name}/{UNKNOWN}"
    classes, speakers, clips = PUBLISHED[name]
    for what, here, there in (
        ("clips in its list", len(entries), clips),
        ("clips here", len(table), len(entries)),
        ("classes", table["label"].nunique(), classes),
        ("speakers", table["speaker"].nunique() if known.all() else speakers, speakers),
    ):
        if here != there and there is not None:
            sentence = f"{name} has {here} {what}; EmoBox counts {there}."
            problems.append(Problem("lists", "notice", name, "", sentence))
    return problems


PUBLISHED: Mapping[str, tuple[int, int | None, int]] = {
    "aesdd": (5, 5, 604),
    "ased": (5, 65, 2474),
    "asvpesd": (12, 131, 13964),
    "cafe": (7, 12, 936),
    "casia": (6, 4, 1200),
    "cremad": (6, 91, 7442),
    "emns": (8, 1, 1181),
    "emodb": (7, 10, 535),
    "emovdb": (5, 4, 6887),
    "emovo": (7, 6, 588),
    "emozionalmente": (7, 431, 6902),
    "enterface": (6, 44, 1263),
    "esd": (5, 20, 35000),
    "iemocap": (5, 10, 5531),
    "jlcorpus": (5, 4, 2400),
    "m3ed": (7, 626, 24437),
    "mead": (8, 48, 31729),
    "meld": (7, 304, 13706),
    "mer2023": (6, None, 5030),
    "mesd": (6, 11, 862),
    "msppodcast": (8, 1273, 73042),
    "oreau": (7, 32, 434),
    "pavoque": (5, 1, 7334),
    "polish": (3, 5, 450),
    "ravdess": (8, 24, 1440),
    "resd": (7, 200, 1396),
    "savee": (7, 4, 480),
    "shemo": (6, 87, 2838),
    "subesco": (7, 20, 7000),
    "tess": (7, 2, 2800),
    "turevdb": (4, 6, 1735),
    "urdu": (4, 29, 400),
}
"""classes, speakers and clips of each corpus by EmoBox's own table (Ma et al. 2024, Table 1)"""
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
        "speaker": "a regular expression whose first group is the speaker in a file's name",
    },
    counted="EmoBox's own lists; check compares them with its paper's Table 1",
)
