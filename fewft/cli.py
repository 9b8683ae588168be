"""The command line: `fewft plan | run | status | claims | verify | merge | data | yours | build | pdf | bench`.

0 on success, 1 on a finding, 2 on a wrong call.
"""

import errno
import sys
from collections.abc import Sequence

from fewft.commands import COMMANDS
from fewft.config import CONTROL, UsageError, shown
from fewft.options import parser

LONGEST_ARGUMENT = 4000  # characters; Linux has no longer paths
NO_SUCH_PATH = (  # errors of paths that a wrong argument can give, such as a folder in place of a file
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL,
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    from fewft.book import BookError
    from fewft.merge import ConflictError
    from fewft.schedule import SweepError

    try:
        given = sys.argv[1:] if arguments is None else list(arguments)
        _check_arguments(given)
        options = parser(__doc__).parse_args(given)
        return COMMANDS[options.command](options)
    except UsageError as error:
        print(f"fewft: {error}", file=sys.stderr)
        return 2
    except (BookError, ConflictError, SweepError) as error:
        print(f"fewft: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"fewft: {UsageError(str(error))}", file=sys.stderr)  # in one line that is not too long
        return 2 if error.errno in NO_SUCH_PATH else 1
    except KeyboardInterrupt:
        print("fewft: interrupted; finished runs are stored, the same call goes on", file=sys.stderr)
        return 1


def _check_arguments(given: Sequence[str]) -> None:
    """Refuse what no name, path or number has, before anything reads it."""
    for text in given:
        if len(text) > LONGEST_ARGUMENT or CONTROL.search(text):
            accepted = f"up to {LONGEST_ARGUMENT:,} characters of UTF-8, none of them a control character"
            raise UsageError(f"argument: {shown(text)}; accepted: {accepted}")


if __name__ == "__main__":
    sys.exit(main())
