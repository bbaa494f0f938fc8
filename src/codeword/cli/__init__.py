"""The command line: one file a verb.

Only the standard library and tyro are imported here and at the top of the verbs, so that help is immediate; a verb
imports what it needs when it runs.
"""

import sys

from codeword.cli.errors import user_errors


def main(arguments: list[str] | None = None) -> None:
    """Run one verb. What a user got wrong is one line and exit code 2; a traceback is a fault of ours."""
    with user_errors():
        from codeword.cli.parsing import parse  # here, so that Ctrl-C is answered from the first moment on

        verb = parse(sys.argv[1:] if arguments is None else arguments)
        if verb is not None:
            verb.run()
