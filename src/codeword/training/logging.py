"""Logs of a run: one JSON object a line, TensorBoard where it is installed, and a progress bar."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from codeword.formats.atomic import atomic_write

LOG, TENSORBOARD = "log.jsonl", "tensorboard"  # in the folder of a run


@runtime_checkable
class Log(Protocol):
    """The contract of a log."""

    def write(self, step: int, values: Mapping[str, float], group: str) -> None:
        """Add the figures of a step; ``group`` is ``train`` or ``validation``."""
        ...

    def close(self) -> None:
        """Finish."""
        ...


class JsonLog:
    """A file of lines such as ``{"step": 10, "group": "train", "loss": 0.25}``.

    Args:
        path: Where the lines go.
        step: The step a run goes on from: later lines, and one that an interruption cut short, are removed.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= step]
        with atomic_write(path) as file:
            file.write("".join(f"{line}\n" for line in kept).encode())
        self.file = path.open("a")

    def write(self, step: int, values: Mapping[str, float], group: str) -> None:
        self.file.write(json.dumps({"step": step, "group": group, **values}) + "\n")
        self.file.flush()

    def close(self) -> None:
        self.file.close()


class TensorBoardLog:
    """Event files for TensorBoard.

    Args:
        folder: Where they go.
        step: The step a run goes on from: TensorBoard forgets what came later.

    Raises:
        ValueError: If TensorBoard is not installed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ValueError("TensorBoard logs need tensorboard: pip install 'codeword[logging]'") from error
        self.writer = SummaryWriter(folder, purge_step=step + 1)

    def write(self, step: int, values: Mapping[str, float], group: str) -> None:
        for name, value in values.items():
            self.writer.add_scalar(f"{group}/{name}", value, step)

    def close(self) -> None:
        self.writer.close()


def read_log(path: str | Path) -> list[dict[str, int | float | str]]:
    """The lines of a ``JsonLog``, without one that an interruption cut short."""
    return [json.loads(line) for line in _whole_lines(Path(path))]


def _whole_lines(path: Path) -> list[str]:
    # What follows the last line feed was cut short, or is empty.
    return path.read_text().split("\n")[:-1] if path.exists() else []


def keep_logs(run: Path, folder: Path, name: str = "log") -> None:
    """Copy the logs of a finished run.

    Args:
        run: Its folder.
        folder: Gets ``name.jsonl``, and ``tensorboard/name`` where there are such files.
        name: What run it was.
    """
    if (run / LOG).is_file():
        shutil.copy(run / LOG, folder / f"{name}.jsonl")
    if (run / TENSORBOARD).is_dir():
        shutil.copytree(run / TENSORBOARD, folder / TENSORBOARD / name, dirs_exist_ok=True)
