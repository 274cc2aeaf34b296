"""Counts in sentences.

The rule: what is one is told as one, so every message that counts asks here.
"""


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 task`, `2 tasks`, `65,536 tasks`. plural: of a noun that has more to it than an `s`."""
    return f"{count:,} {either(count, noun, plural or f'{noun}s')}"


def either(count: int, one: str, many: str) -> str:
    """What agrees with a count, such as `is` or `are`."""
    return one if count == 1 else many
