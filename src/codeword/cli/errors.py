"""How a command ends: a line on standard error and an exit code for everything that is not our own fault."""

import signal
import sys
import threading
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

WRONG, INTERRUPTED, NO_READER, TERMINATED = 2, 130, 141, 143  # the last three are what shells report for signals
_LONGEST = 400  # characters of a message; a list of all parameters of a model helps nobody


class Terminated(KeyboardInterrupt):
    """A request to end, as ``timeout``, containers and batch systems send it; unwinds like Ctrl-C."""


@contextmanager
def user_errors() -> Generator[None, None, None]:
    """Turn what a user can cause into one line and an exit code.

    Raises:
        SystemExit: With 2 for a wrong input or a full disk, 130 after Ctrl-C, 141 if nobody reads the output, 143
            after a request to end.
    """
    try:
        try:
            with _terminable(), _warnings_in_a_line():
                yield
        finally:  # also after help, which ends with an exit of its own
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        raise SystemExit(NO_READER) from None
    except KeyboardInterrupt as error:
        _say(str(error) or "interrupted; nothing half-written was left")
        raise SystemExit(TERMINATED if isinstance(error, Terminated) else INTERRUPTED) from None
    except (ValueError, OSError) as error:
        _fail(error)
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        _fail(error)


@contextmanager
def ending_at_interrupt() -> Generator[Callable[[], bool], None, None]:
    """Let Ctrl-C end what comes in, not the work on it; gives whether it shall end now.

    A recorder at the other end of a pipe gets the first one, too, and ends. Where none does, the second one ends what
    comes in, and the third interrupts.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        if len(came) == 1:
            _say("interrupted: what was recorded is kept; once more to end at once")
        else:
            signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, end)
    try:
        yield lambda: len(came) > 1
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _warnings_in_a_line() -> Generator[None, None, None]:
    """Tell our own warnings without the place in the code that gave them."""
    before = warnings.formatwarning

    def told(message: Warning | str, category: type[Warning], *place: Any, **line: Any) -> str:
        ours = category.__module__.partition(".")[0] == "codeword"
        return f"codeword: {message}\n" if ours else before(message, category, *place, **line)

    warnings.formatwarning = told
    try:
        yield
    finally:
        warnings.formatwarning = before


@contextmanager
def _terminable() -> Generator[None, None, None]:
    """Raise ``Terminated`` at a request to end, which otherwise would leave hidden files behind."""
    # Python takes signals in its main thread alone; who has set SIGTERM apart wants something else.
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def lacks_memory(error: BaseException) -> bool:
    """Whether memory has run out, which PyTorch tells in its own way."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "allocate memory" in str(error))


def one_line(error: BaseException) -> str:
    """The message of an error a user can mend, on one line."""
    if lacks_memory(error):
        return "there is not enough memory for this: give smaller files, or ask for less at once"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'standard output'}: {error.strerror.lower()}"
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _fail(error: BaseException) -> None:
    _say(one_line(error))
    raise SystemExit(WRONG) from None


def _say(text: str) -> None:
    print(f"codeword: {text}", file=sys.stderr)
