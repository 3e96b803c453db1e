"""A page in headless chromium, driven over the DevTools protocol. For tests only."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

import websocket

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One tab, a laptop's width. Use as a context; `folder` takes the profile."""

    def __init__(self, folder: Path, width: int = 1440, height: int = 900) -> None:
        assert CHROMIUM is not None
        self._process = subprocess.Popen(
            [
                CHROMIUM,
                *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
                *("--no-first-run", "--disable-background-networking", "--disable-sync"),
                *("--disable-component-update", "--disable-dev-shm-usage", "--no-proxy-server"),
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                "--remote-debugging-port=0",
                f"--user-data-dir={folder}",
                f"--window-size={width},{height}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        marker = folder / "DevToolsActivePort"
        until = time.monotonic() + 60
        while not (marker.exists() and marker.read_text().count("\n")):
            assert time.monotonic() < until, "chromium did not start"
            time.sleep(0.1)
        port = marker.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            pages = [t for t in json.load(answer) if t["type"] == "page"]
        self._socket = websocket.create_connection(
            pages[0]["webSocketDebuggerUrl"], suppress_origin=True, timeout=60
        )
        self._count = 0
        self("Page.enable")
        self("Runtime.enable")
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        return self("Runtime.evaluate", expression=script, returnByValue=True)["result"].get(
            "value"
        )

    def open(self, url: str) -> None:
        self("Page.navigate", url="about:blank")
        self("Page.navigate", url=url)

    def text(self) -> str:
        return str(self.run("document.body ? document.body.innerText : ''") or "")

    def wait_for(self, *texts: str, seconds: float = 60) -> str:
        """Wait until the page's text holds all of these; return it."""
        until = time.monotonic() + seconds
        while True:
            page = self.text()
            missing = [text for text in texts if text not in page]
            if not missing:
                return page
            assert time.monotonic() < until, f"{missing} not in the page:\n{page[:4000]}"
            time.sleep(0.3)

    def wait_true(self, script: str, seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < until, f"never true: {script}\n{self.text()[:3000]}"
            time.sleep(0.3)

    def shoot(self, path: Path) -> None:
        time.sleep(1.0)  # let transitions end
        data = self("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))
