"""Where what was interrupted waits."""

from pathlib import Path


def resume_folder(out: Path) -> Path:
    """Where an interrupted training waits to be continued; with folds, until the last one is finished."""
    return out.with_name(f"{out.name}.resume")
