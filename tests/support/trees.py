"""Small trees of every corpus, in its published format, with clips of noise."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile


def tone(path: Path, root: Path) -> Path:
    """A short clip whose sound follows from its name below `root`: no two are identical."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(path.relative_to(root).as_posix().encode()).digest()
    rng = np.random.default_rng(list(digest))
    soundfile.write(path, rng.uniform(-0.3, 0.3, 2000), 16_000)
    return path


def _tones(root: Path, *names: str, suffix: str = ".wav") -> Path:
    for name in names:
        tone(root / f"{name}{suffix}", root)
    return root


HEAD = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
IMPROVISED = """[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
C-E3:\tNeutral;\t()
C-E4:\tNeutral;\t()
C-F1:\tNeutral; Anger;\t(curious; Fear;)
A-E3:\tval 3; act 2; dom  2;\t()
A-E4:\tval 2; act 3; dom  ;\t(mildly aggravated; val 5)
A-F1:\tval 3; act 2; dom  1;\t()

[8.2901 - 9.2357]\tSes01F_impro01_M000\thap\t[2.5000, 2.5000, 2.5000]
C-E2:\tHappiness;\t()
C-E3:\tExcited; Happiness;\t()
C-E4:\tHappiness;\t()
C-F1:\tSurprise;\t()
A-E3:\tval 4; act 2; dom  2;\t()

[9.2901 - 11.2357]\tSes01F_impro01_M001\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
C-E3:\tNeutral;\t()
C-E4:\tFrustration;\t()
"""
SCRIPTED = """[1.0000 - 2.0000]\tSes02M_script01_1_M000\texc\t[2.5000, 2.5000, 2.5000]
C-E2:\tExcited;\t()
C-E5:\tExcited;\t()
C-M2:\tNeutral;\t()

[2.0000 - 3.0000]\tSes02M_script01_1_F000\txxx\t[2.5000, 2.5000, 2.5000]
C-E2:\tHappiness;\t()
C-E5:\tNeutral;\t()
C-E6:\tOther;\t(shy)

[3.0000 - 4.0000]\tSes02M_script01_1_F001\tfru\t[2.5000, 2.5000, 2.5000]
C-E2:\tFrustration;\t()
C-E5:\tFrustration;\t()
C-E6:\tNeutral;\t()

[4.0000 - 5.0000]\tSes02M_script01_1_F002\tfru\t[2.5000, 2.5000, 2.5000]
C-E2:\tFrustration;\t()
C-E5:\tFrustration;\t()

[5.0000 - 6.0000]\tSes02M_script01_1_F003\txxx\t[2.5000, 2.5000, 2.5000]
C-E2:\tFrustration;\t()
C-E5:\tOther;\t()
"""


DIALOGUES = ((1, "Ses01F_impro01", IMPROVISED), (2, "Ses02M_script01_1", SCRIPTED))


def iemocap(root: Path, dialogues: Sequence[tuple[int, str, str]] = DIALOGUES) -> Path:
    """Turns of the dialogues: (session, name, text of its evaluation)."""
    for session, dialogue, text in dialogues:
        dialog = root / f"Session{session}" / "dialog"
        for folder in ("EmoEvaluation/Categorical", "transcriptions"):
            (dialog / folder).mkdir(parents=True)
        (dialog / "EmoEvaluation" / f"{dialogue}.txt").write_text(HEAD + text)
        (dialog / "EmoEvaluation" / f"._{dialogue}.txt").write_bytes(b"\x00\xff")
        (dialog / "EmoEvaluation" / "Categorical" / f"{dialogue}_e2_cat.txt").write_text("x")
        turns = re.findall(r"\t(Ses\w+)\t", text)
        lines = [f"{turn} [006.2901-008.2357]: Text of {turn}: yes." for turn in turns]
        (dialog / "transcriptions" / f"{dialogue}.txt").write_text("\n".join(lines))
        for turn in turns:
            wav = root / f"Session{session}" / "sentences" / "wav"
            tone(wav / dialogue / f"{turn}.wav", root)
    return root


EVALUTION = """UTD-IMPROV-S01A-F01-S-FM01.avi; A; A:2.000000; V:3.500000; D:3.000000; N:4.000000;
P001-p1; Angry; Angry,Frustrated; A:2.000000; V:3.000000; D:3.000000; N:4.000000;
P002-p1; Neutral; Neutral; A:2.000000; V:4.000000; D:3.000000; N:4.000000;
P003-p1; Angry; Angry; A:2.000000; V:3.000000; D:; N:4.000000;

UTD-IMPROV-S01A-M01-T-FM02.avi; H; A:2.000000; V:3.500000; D:3.000000; N:4.000000;
P001-p1; Happy; Happy; A:2.000000; V:3.000000; D:3.000000; N:4.000000;

UTD-IMPROV-S05H-F06-P-MF01.avi; X; A:2.000000; V:3.500000; D:3.000000; N:4.000000;
P001-p1; Other (bored); Other; A:2.000000; V:3.000000; D:3.000000; N:4.000000;
P004-p2; Happy; Happy; A:2.000000; V:3.000000; D:3.000000; N:4.000000;

UTD-IMPROV-S05H-F06-R-MF01.avi; A; A:2.000000; V:3.500000; D:3.000000; N:4.000000;
UTD-IMPROV-S05H-M06-R-MF02.avi; H; A:2.000000; V:3.500000; D:3.000000; N:4.000000;
"""


def even_iemocap(root: Path) -> Path:
    """16 turns of 4 actors, two of each class by each of them."""
    dialogues = []
    for session in (1, 2):
        name = f"Ses0{session}F_impro01"
        turns = [
            f"[1.0 - 2.0]\t{name}_{who}00{number}\t{code}\t[2.5, 2.5, 2.5]\n"
            f"C-E2:\t{word};\t()\nC-E3:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom 2;\t()\n"
            for who in "FM"
            for number, code, word in ((0, "ang", "Anger"), (1, "sad", "Sadness")) * 2
        ]
        numbered = "\n".join(
            re.sub(r"_([FM])00\d\t", rf"_\g<1>{place:03d}\t", turn)
            for place, turn in enumerate(turns)
        )
        dialogues.append((session, name, numbered))
    return iemocap(root, dialogues)


def msp_improv(root: Path, text: str = EVALUTION) -> Path:
    """Turns of the text of an evaluation."""
    root.mkdir()
    (root / "Evalution.txt").write_text(text)
    for name in re.findall(r"UTD-(\S+)\.avi", text):
        _, scenario, speaker, kind, _ = name.split("-")
        place = root / "Audio" / f"session{int(speaker[1:])}" / scenario / kind
        tone(place / f"MSP-{name}.wav", root)
    return root


CONSENSUS = """FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set
MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,127,Female,Train
MSP-PODCAST_0001_0019.wav,X,3.2,4.0,2.6,Unknown,Unknown,Train
MSP-PODCAST_0002_0059.wav,H,5.2,4.0,2.6,Unknown,Unknown,Test1
MSP-PODCAST_0002_0060.wav,H,5.2,4.0,2.6,128,Male,Test1
MSP-PODCAST_0003_0001.wav,N,5.2,4.0,2.6,128,Male,Development
"""
DETAILED = """FileName,Label
MSP-PODCAST_0001_0008.wav,"WORKER0000001; Neutral; Neutral,Confused; A:1.000000; V:4.000000; D:2.0;"
MSP-PODCAST_0001_0008.wav,"WORKER0000002; Other-Amused; Other-Amused; A:7.000000; V:5.0; D:6.0;"
MSP-PODCAST_0001_0019.wav,"WORKER0000001; Happy; A:1.000000; V:4.000000; D:1.000000;"
MSP-PODCAST_0001_0019.wav,"WORKER0000003; Neutral; A:1.000000; V:4.000000; D:1.000000;"
MSP-PODCAST_0009_0001.wav,"WORKER0000003; Neutral; A:1.000000; V:4.000000; D:1.000000;"
"""
TEXT = """MSP-PODCAST_0001_0008.wav; N; A:2.200000; V:4.000000; D:2.600000;
WORKER0000001; Neutral; Neutral,Confused; A:1.000000; V:4.000000; D:2.000000;
WORKER0000002; Other-Amused; Other-Amused; A:7.000000; V:5.000000; D:6.000000;

MSP-PODCAST_0001_0019.wav; X; A:3.200000; V:4.000000; D:2.600000;
WORKER0000001; Happy; A:1.000000; V:4.000000; D:1.000000;
WORKER0000003; Neutral; A:1.000000; V:4.000000; D:1.000000;
"""


def even_msp_improv(root: Path) -> Path:
    """12 turns of 3 speakers, two of each class by each of them."""
    blocks = [
        f"UTD-IMPROV-S01A-{who}-S-{turn}.avi; {letter}; A:2.0; V:3.5; D:3.0; N:4.0;\n"
        f"P001-p1; {word}; {word}; A:2.0; V:3.0; D:3.0; N:4.0;\n"
        f"P002-p1; Neutral; Neutral; A:2.0; V:4.0; D:3.0; N:4.0;\n"
        for who in ("F01", "M01", "F02")
        for turn, letter, word in (
            ("FM01", "A", "Angry"),
            ("FM02", "A", "Angry"),
            ("MF01", "H", "Happy"),
            ("MF02", "H", "Happy"),
        )
    ]
    return msp_improv(root, "\n".join(blocks))


def msp_podcast(
    root: Path, spelling: str = "consensus", consensus: str = CONSENSUS, detailed: str = ""
) -> Path:
    """Clips of the text of a consensus, and their single ratings if `detailed` holds any."""
    (root / "Labels").mkdir(parents=True)
    (root / "Transcripts").mkdir()
    (root / "Labels" / f"labels_{spelling}.csv").write_text(consensus)
    if detailed:
        (root / "Labels" / "labels_detailed.csv").write_text(detailed)
    for name in re.findall(r"MSP-PODCAST_\d+_\d+", consensus):
        tone(root / "Audios" / f"{name}.wav", root)
    (root / "Transcripts" / "MSP-PODCAST_0001_0008.txt").write_text("well\nyes\n")
    return root


def even_msp_podcast(root: Path) -> Path:
    """12 clips of 3 speakers, two of each class by each of them."""
    clips = [
        (f"MSP-PODCAST_{speaker:04d}_{place:04d}.wav", letter, word, speaker)
        for speaker in (1, 2, 3)
        for place, (letter, word) in enumerate((("N", "Neutral"), ("H", "Happy")) * 2)
    ]
    consensus = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n" + "".join(
        f"{file},{letter},2.2,4.0,2.6,{speaker},Female,Train\n"
        for file, letter, _, speaker in clips
    )
    detailed = "FileName,Label\n" + "".join(
        f'{file},"WORKER1; {word}; {word}; A:1.0; V:4.0; D:2.0;"\n' for file, _, word, _ in clips
    )
    return msp_podcast(root, consensus=consensus, detailed=detailed)


def emodb(root: Path) -> Path:
    names = (
        f"wav/{s}{text}{e}a" for s in ("03", "08", "09") for text in ("a01", "b02") for e in "FT"
    )
    return _tones(root, *names)


def ravdess(root: Path) -> Path:
    names = (
        f"Actor_{s}/03-01-{emotion}-01-{text}-01-{s}"
        for s in ("01", "02", "03")
        for emotion in ("03", "04")
        for text in ("01", "02")
    )
    return _tones(root, *names)


def cremad(root: Path) -> Path:
    """12 clips of 3 actors; each has the votes of 3 raters."""
    names = [
        f"{s}_{text}_{emotion}_LO"
        for s in (1001, 1002, 1003)
        for text in ("IEO", "TIE")
        for emotion in ("HAP", "SAD")
    ]
    _tones(root / "AudioWAV", *names)
    with (root / "tabulatedVotes.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "A", "D", "F", "H", "N", "S", "fileName"])
        for number, name in enumerate(names):
            happy = 2 if "HAP" in name else 1
            writer.writerow([100001 + number, 0, 0, 0, happy, 0, 3 - happy, name])
            writer.writerow([200001 + number, 3, 0, 0, 0, 0, 0, name])  # who saw the face alone
    return root


def emovo(root: Path) -> Path:
    names = (
        f"{s}/{emotion}-{s}-{text}"
        for s in ("f1", "f2", "m3")
        for emotion in ("dis", "gio")
        for text in ("b1", "l2")
    )
    return _tones(root, *names)


def savee(root: Path) -> Path:
    names = (f"{s}/{e}{n}" for s in ("DC", "JE", "JK") for e in ("sa", "a") for n in ("01", "02"))
    return _tones(root, *names)


def casia(root: Path) -> Path:
    names = (
        f"{s}/{emotion}/{n}"
        for s in ("liuchanhg", "wangzhe", "zhaoquanyin")
        for emotion in ("angry", "fear")
        for n in (201, 202)
    )
    return _tones(root, *names)


def librispeech(root: Path) -> Path:
    chapter = "train-clean-100/103/1240"
    names = (f"{chapter}/103-1240-{n:04d}" for n in range(4))
    _tones(root, *names, suffix=".flac")
    text = root / chapter / "103-1240.trans.txt"
    text.write_text("103-1240-0000 CHAPTER ONE\n103-1240-0001 IN WHICH\n103-1240-0002 IT IS TOLD\n")
    return root


def manifest(root: Path) -> Path:
    """12 clips of 3 speakers in 3 sessions, with raters' votes."""
    names = [f"wav/{s}-{c}-{n}" for s in "abc" for c in ("angry", "sad") for n in (1, 2)]
    _tones(root, *names)
    with (root / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "speaker", "session", "transcript", "votes"])
        for name in names:
            speaker, label, number = name.removeprefix("wav/").split("-")
            votes = f"{label}:3;neutral:1"
            writer.writerow([f"{name}.wav", label, speaker, f"s{speaker}", f"text {number}", votes])
    return root


DATABASE = """name: mine
source: here
usage: unrestricted
languages: [deu]
schemes:
  emotion: {dtype: str, labels: [anger, neutral, sadness]}
  gender: {dtype: str, labels: [female, male]}
  speaker:
    dtype: str
    labels: {s1: {gender: female}, s2: {gender: male}, s3: {gender: female}}
tables:
  emotion:
    type: filewise
    columns:
      emotion: {scheme_id: emotion}
  files:
    type: filewise
    columns:
      speaker: {scheme_id: speaker}
"""
FEW = [
    (f"wav/{who}{n}", who, what)
    for who in ("s1", "s2", "s3")
    for n, what in enumerate(("anger", "neutral", "sadness"))
]


def audformat(root: Path) -> Path:
    _tones(root, *(name for name, _, _ in FEW))
    (root / "db.yaml").write_text(DATABASE)
    for table, column, place in (("emotion", "emotion", 2), ("files", "speaker", 1)):
        rows = "".join(f"{row[0]}.wav,{row[place]}\n" for row in FEW)
        (root / f"db.{table}.csv").write_text(f"file,{column}\n{rows}")
    return root


def huggingface(root: Path) -> Path:
    _tones(root, *(name for name, _, _ in FEW))
    rows = "".join(f"{name}.wav,{who},{what}\n" for name, who, what in FEW)
    (root / "metadata.csv").write_text(f"file_name,speaker,label\n{rows}")
    return root


def emobox(root: Path) -> Path:
    """Lists of EmoBox over the small tree of EmoDB."""
    emodb(root)
    words = {"W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happy"}
    words |= {"T": "sad", "N": "neutral"}
    entries = [
        {"key": f"emodb-{path.stem}", "wav": f"downloads/emodb/wav/{path.stem}.wav"}
        | {"emo": words[path.stem[5]]}
        for path in sorted(root.rglob("*.wav"))
    ]
    folder = root / "data" / "emodb"
    for k in range(2):
        (folder / f"fold_{k + 1}").mkdir(parents=True)
        for part, own in (("test", entries[k::2]), ("train", entries[1 - k :: 2])):
            lines = "".join(json.dumps(entry) + "\n" for entry in own)
            (folder / f"fold_{k + 1}" / f"emodb_{part}_fold_{k + 1}.jsonl").write_text(lines)
    (folder / "emodb.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    (folder / "label_map.json").write_text(json.dumps({word: word for word in words.values()}))
    return root


TREES: Mapping[str, Callable[[Path], Path]] = {
    "emodb": emodb,
    "ravdess": ravdess,
    "cremad": cremad,
    "iemocap": even_iemocap,
    "msp_improv": even_msp_improv,
    "msp_podcast": even_msp_podcast,
    "emovo": emovo,
    "savee": savee,
    "casia": casia,
    "librispeech": librispeech,
    "manifest": manifest,
    "audformat": audformat,
    "huggingface": huggingface,
    "emobox": emobox,
}
"""corpus -> a function that writes its small tree; one with labels has three speakers or more"""
