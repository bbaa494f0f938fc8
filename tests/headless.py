"""A headless browser for tests, spoken to over a pipe in the protocol of its developer tools.

Nothing is installed for it but the browser: messages are JSON, each ended by a zero byte, over file descriptors 3 and
4.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 60.0  # that an answer may take on a busy machine
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
    "--mute-audio",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
)
_LOOK = """new Promise(resolve => {
  const players = [...document.querySelectorAll('audio')];
  const settled = player => player.readyState >= 1 || player.error || player.networkState === 3;
  const until = performance.now() + 30000;
  const look = () => (players.every(settled) || performance.now() > until) ? resolve({
    players: players.map(player => ({
      ready: player.readyState, duration: player.duration, moved: !player.paused || player.currentTime > 0,
      error: player.error ? player.error.message : '',
    })),
    images: [...document.images].map(image => image.complete ? image.naturalWidth : 0),
    title: document.title,
    width: document.documentElement.clientWidth,
    content: document.documentElement.scrollWidth,
    beyond: [...document.querySelectorAll('body *')].filter(element => {
      const box = element.getBoundingClientRect();
      return box.right > document.documentElement.clientWidth + 1 && !element.closest('.wide');
    }).map(element => element.tagName + '.' + (element.getAttribute('class') || '')),
  }) : setTimeout(look, 50);
  look();
})"""


class Seen(NamedTuple):
    """What a page turned out to be.

    Attributes:
        problems: Errors and warnings of the console, uncaught exceptions.
        requests: Addresses that were asked for, data within the page aside.
        players: Of every ``<audio>``: ``ready`` (its readyState), ``duration``, ``moved``, ``error``.
        images: Natural width of every ``<img>``.
        title: Of the document.
        width: Of the window.
        content: Of what is in it; more than the width if the page can be moved sideways.
        beyond: Elements that reach over the right edge.
    """

    problems: list[str]
    requests: list[str]
    players: list[dict[str, Any]]
    images: list[int]
    title: str
    width: int
    content: int
    beyond: list[str]


class Browser:
    """One window of a browser without a screen; used as a context manager.

    Args:
        program: Its path.
        profile: An empty folder that it may fill.
    """

    def __init__(self, program: str, profile: Path):
        from_us, self._write = _high_pipe()
        self._read, from_it = _high_pipe()
        self._buffer, self._events, self._number, self._session = b"", [], 0, ""
        self._process = subprocess.Popen(
            [*_shell(from_us, from_it), program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(from_us, from_it),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(from_us)
        os.close(from_it)

    def __enter__(self) -> "Browser":
        try:
            target = self._call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self._call(f"{domain}.enable")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._write)
        os.close(self._read)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def look(self, path: Path, *, width: int = 1200, dark: bool = False) -> Seen:
        """Load a file in a window of that width, play nothing, and tell what came of it."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        phone = width < 600
        self._call("Emulation.setEmulatedMedia", features=scheme)
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1 + phone, mobile=phone
        )
        self._events.clear()
        self._call("Page.navigate", url=path.resolve().as_uri())
        self._wait("Page.loadEventFired")
        found = self.evaluate(_LOOK)
        requests = [
            event["params"]["request"]["url"]
            for event in self._events
            if event["method"] == "Network.requestWillBeSent"
        ]
        told = [told for event in self._events if (told := _problem(event))]
        return Seen(told, [url for url in requests if not url.startswith(("data:", "blob:"))], **found)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page, awaited."""
        answer = self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self._call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._events.append(answer)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def _wait(self, method: str) -> None:
        while not any(event["method"] == method for event in self._events):
            self._events.append(self._next())

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, until - time.monotonic()))
            data = os.read(self._read, 1 << 16) if ready else b""
            if not data:
                raise TimeoutError("the browser ended or did not answer")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(line)


def find_browser() -> str | None:
    """The path of a browser on this machine."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def need_browser(profile: Path) -> Browser:
    """A browser, or the running test is skipped."""
    program = find_browser()
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    return Browser(program, profile)


def _problem(event: dict[str, Any]) -> str:
    """What an event complains of; nothing for most."""
    params = event["params"]
    if event["method"] == "Runtime.exceptionThrown":
        return str(params["exceptionDetails"])
    if event["method"] == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
        return str(params["args"])
    if event["method"] == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
        return str(params["entry"])
    if event["method"] == "Network.loadingFailed" and not params.get("canceled"):
        return str(params)
    return ""


def _shell(read: int, write: int) -> list[str]:
    """A command that runs the command after it with these descriptors as 3 and 4."""
    return ["bash", "-c", f'exec "$@" 3<&{read} 4>&{write}', "browser"]


def _high_pipe() -> tuple[int, int]:
    """A pipe whose ends are out of the way of descriptors 3 and 4."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high
