"""`tensorfleet`: the console script.

The rule: a fleet that stands is started, and stays, without the libraries of a command line (`standing.py`).
"""

import sys


def main() -> None:
    from clients.cli import standing

    asked = standing.plain(sys.argv[1:])
    if asked is not None:
        sys.exit(standing.main(asked))
    from clients.cli.commands import app

    app()


if __name__ == "__main__":
    main()
