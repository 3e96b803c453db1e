"""Draw the README's picture: the top of a study's report, as a browser shows it.

    python docs/picture.py space=rdlr corpus=emodb corpus.root=DIR normalise=speaker trials=12

takes the words of `tune`, runs that study (a finished one runs nothing again), writes its report as
HTML and photographs it with Chromium to `docs/report.png`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

PICTURE = Path(__file__).with_name("report.png")
SIZE = (1000, 1080)
"""width and height in CSS pixels, as high as the first screen of the report"""


def raysearch(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "raysearch", *words], check=True)


def photograph(page: Path, picture: Path) -> None:
    """Photograph the top of an HTML page to a PNG of 64 colours."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))))
    width, height = SIZE
    command = [browser, "--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu"]
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        quiet = subprocess.DEVNULL
        size = f"--window-size={width},{height}"
        subprocess.run(
            [*command, size, f"--screenshot={shot}", page.as_uri()], check=True, stderr=quiet
        )
        Image.open(shot).convert("RGB").quantize(64).save(picture, optimize=True)


def main(words: list[str]) -> None:
    raysearch("tune", *words)
    home = [word for word in words if word.startswith("home=")]
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        raysearch("report", *home, "format=html", f"out={page}")
        photograph(page, PICTURE)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
