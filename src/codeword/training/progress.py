"""A progress bar for training runs."""

from types import TracebackType

from tqdm.auto import tqdm

from codeword.training.run import Progress


class ProgressBar:
    """Shows passed vectors, rate, remaining time and the last error of a run on standard error; a context manager.

    Args:
        label: What stands before the bar.
    """

    def __init__(self, label: str = "training"):
        self._bar = tqdm(desc=label, unit="vec", unit_scale=True, smoothing=0.05, dynamic_ncols=True)

    def __call__(self, progress: Progress) -> None:
        self._bar.total = progress.total
        if progress.last is not None:
            step = progress.last
            shown = f"{step.stage} {step.number}, error {step.error:.5g}"
            self._bar.set_postfix_str(
                shown if step.validation is None else f"{shown}, validation {step.validation:.5g}", refresh=False
            )
        skipped = progress.skipped - self._bar.initial
        for place in ("initial", "n", "last_print_n"):  # what a checkpoint has spared says nothing about the rate
            setattr(self._bar, place, getattr(self._bar, place) + skipped)
        self._bar.update(progress.done - self._bar.n)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
