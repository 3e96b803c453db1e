"""Speaks lines with espeak-ng's library. A script, run in a process of its own (see `demo`).

The library keeps state from one sentence to the next, so the same sentence sounds a little
different each time; a fresh process that speaks the same lines in the same order always gives the
same bytes. It needs the standard library alone.

    python espeak.py LIBRARY VOICES < lines.json > sound

`lines.json` is a list of [text, voice, rate, pitch, range, volume]; `sound` is, for each line, a
little-endian uint32 number of samples and that many int16 samples. The first uint32 is the
sampling rate.
"""

from __future__ import annotations

import ctypes
import json
import struct
import sys

RETRIEVAL = 1  # AUDIO_OUTPUT_RETRIEVAL: samples go to the callback, no device is opened
RATE, VOLUME, PITCH, RANGE = 1, 2, 3, 4
UTF8 = 1


def main(library: str, voices: str) -> int:
    """Speak the lines on stdin to stdout; the exit status is 0, or 1 with a message on stderr."""
    lines = json.load(sys.stdin)
    espeak = ctypes.CDLL(library)
    callback_type = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
    )
    waves: list[bytes] = []

    def hear(samples: ctypes._Pointer[ctypes.c_short], count: int, events: object) -> int:
        if samples and count > 0:
            waves.append(ctypes.string_at(samples, 2 * count))
        return 0

    callback = callback_type(hear)  # in a variable, as the library holds a bare pointer to it
    rate = espeak.espeak_Initialize(RETRIEVAL, 0, voices.encode(), 0)
    if rate <= 0:
        print(f"espeak-ng does not start with the voices in {voices}", file=sys.stderr)
        return 1
    espeak.espeak_SetSynthCallback(callback)
    out = sys.stdout.buffer
    out.write(struct.pack("<I", rate))
    for text, voice, *prosody in lines:
        waves.clear()
        if espeak.espeak_SetVoiceByName(voice.encode()) != 0:
            print(f"espeak-ng has no voice {voice}", file=sys.stderr)
            return 1
        for which, value in zip((RATE, PITCH, RANGE, VOLUME), prosody, strict=True):
            espeak.espeak_SetParameter(which, int(value), 0)
        data = text.encode()
        if espeak.espeak_Synth(data, len(data) + 1, 0, 0, 0, UTF8, None, None) != 0:
            print(f"espeak-ng cannot speak {text!r}", file=sys.stderr)
            return 1
        espeak.espeak_Synchronize()
        sound = b"".join(waves)
        out.write(struct.pack("<I", len(sound) // 2) + sound)
    out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
