"""How a command ends: a line on standard error and an exit code for everything that is not our own fault."""

import sys
from collections.abc import Generator
from contextlib import contextmanager

WRONG, INTERRUPTED, NO_READER = 2, 130, 141  # the last two are what shells report for SIGINT and SIGPIPE
_LONGEST = 400  # characters of a message; a list of all parameters of a model helps nobody


@contextmanager
def user_errors() -> Generator[None, None, None]:
    """Turn what a user can cause into one line and an exit code.

    Raises:
        SystemExit: With 2 for a wrong input or a full disk, 130 after Ctrl-C, 141 if nobody reads the output.
    """
    try:
        try:
            yield
        finally:  # also after help, which ends with an exit of its own
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        raise SystemExit(NO_READER) from None
    except KeyboardInterrupt as error:
        _say(str(error) or "interrupted; nothing half-written was left")
        raise SystemExit(INTERRUPTED) from None
    except (ValueError, OSError) as error:
        _fail(error)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        _fail(
            ValueError("there is not enough memory for this: ask for less at once, such as fewer neighbours or lists")
        )


def one_line(error: BaseException) -> str:
    """The message of an error a user can mend, on one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'standard output'}: {error.strerror.lower()}"
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _fail(error: BaseException) -> None:
    _say(one_line(error))
    raise SystemExit(WRONG) from None


def _say(text: str) -> None:
    print(f"codeword: {text}", file=sys.stderr)
