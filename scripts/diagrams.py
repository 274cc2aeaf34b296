"""Draws the state diagrams from the transition tables, for docs/architecture.md.

    python scripts/diagrams.py             prints them
    python scripts/diagrams.py --write     puts them between the document's markers, `<!-- diagram:job -->` and
                                           `<!-- /diagram:job -->`
    python scripts/diagrams.py --check     fails where the document differs

The rule: what is drawn is what the code checks; nobody draws by hand.
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from orchestrator.core import transitions  # noqa: E402

DOCUMENT = ROOT / "docs" / "architecture.md"

TABLES: dict[str, Mapping[StrEnum, Sequence[StrEnum]]] = {
    "job": transitions.JOB,  # type: ignore[dict-item]
    "task": transitions.TASK,  # type: ignore[dict-item]
    "worker": transitions.WORKER,  # type: ignore[dict-item]
}


def mermaid(table: Mapping[StrEnum, Sequence[StrEnum]]) -> str:
    """A table as a mermaid state diagram: its first state is where one begins, those without a way on are the ends."""
    lines = ["stateDiagram-v2", f"    [*] --> {next(iter(table))}"]
    lines += [f"    {old} --> {new}" for old, following in table.items() for new in following]
    lines += [f"    {state} --> [*]" for state, following in table.items() if not following]
    return "\n".join(lines)


def drawn(name: str) -> str:
    return f"<!-- diagram:{name} -->\n```mermaid\n{mermaid(TABLES[name])}\n```\n<!-- /diagram:{name} -->"


def redraw(text: str) -> str:
    """The document with every marked diagram drawn anew. KeyError for a marker of no table."""
    pattern = re.compile(r"<!-- diagram:(\w+) -->(?:.*?<!-- /diagram:\1 -->)?", re.DOTALL)
    return pattern.sub(lambda match: drawn(match[1]), text)


def main() -> int:
    parser = argparse.ArgumentParser(description="Draws the state diagrams from the transition tables.")
    parser.add_argument("--write", action="store_true", help="put them into docs/architecture.md")
    parser.add_argument("--check", action="store_true", help="fail where docs/architecture.md differs")
    chosen = parser.parse_args()
    if not (chosen.write or chosen.check):
        print("\n\n".join(drawn(name) for name in TABLES))
        return 0
    text = DOCUMENT.read_text()
    if chosen.write:
        DOCUMENT.write_text(redraw(text))
        return 0
    if redraw(text) != text:
        print(f"{DOCUMENT.name} differs from the tables: run `python scripts/diagrams.py --write`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
