"""The command line: one file a verb.

Only the standard library and tyro are imported here and at the top of the verbs, so that help is immediate; a verb
imports what it needs when it runs.
"""

import sys
from functools import reduce
from operator import or_
from typing import Annotated

import tyro

from codeword import __version__
from codeword.cli.common import one_line
from codeword.cli.complexity import Complexity
from codeword.cli.decode import Decode
from codeword.cli.demo import Demo
from codeword.cli.encode import Encode
from codeword.cli.evaluate import Evaluate
from codeword.cli.index import Index
from codeword.cli.inspect import Inspect
from codeword.cli.search import Search
from codeword.cli.train import Train

_VERBS = (Train, Encode, Decode, Index, Search, Evaluate, Inspect, Complexity, Demo)
_USER_ERROR = 2


def main(arguments: list[str] | None = None) -> None:
    """Run one verb. What a user got wrong is one line and exit code 2; a traceback is a fault of ours."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--version"]:
        print(f"codeword {__version__}")
        return
    parsed = tyro.cli(
        reduce(or_, [Annotated[verb, tyro.conf.subcommand(verb.__name__.lower())] for verb in _VERBS]),
        prog="codeword",
        description=f"Learn discrete codes by vector quantization, store them, search in them. Version {__version__}.",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
    )
    try:
        parsed.run()
    except (ValueError, OSError) as error:
        print(f"codeword: {one_line(error)}", file=sys.stderr)
        raise SystemExit(_USER_ERROR) from None
    except KeyboardInterrupt:
        print("codeword: interrupted; nothing half-written was left", file=sys.stderr)
        raise SystemExit(130) from None
