"""The ledger of a training: which rows each epoch trained on, added up from what its tasks say.

The rule: digests of rows are sums (`tensorfleet.algorithms.rounds.ledger`), so the ledger is the same however an epoch
was shared; epochs with the same rows are one line, so it is no longer for a long training than for a short one.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from tensorfleet.model import BlockRows, Trained

MODULUS = 1 << 64


def with_rows(ledger: Sequence[Trained], epoch: int, lines: Iterable[Sequence[Any]]) -> tuple[Trained, ...]:
    """The ledger with more rows of an epoch, which is the last or new. lines: [block, rows, digest], of its tasks."""
    same = bool(ledger) and ledger[-1].last == epoch == ledger[-1].first
    before = [msgspec.structs.astuple(rows) for rows in ledger[-1].blocks] if same else []
    return (*(ledger[:-1] if same else ledger), Trained(epoch, epoch, _summed([*before, *lines])))


def with_epoch(ledger: Sequence[Trained]) -> tuple[Trained, ...]:
    """The ledger once its last epoch is over: one line with those before where the rows are the same."""
    if len(ledger) > 1 and ledger[-2].blocks == ledger[-1].blocks and ledger[-2].last + 1 == ledger[-1].first:
        return (*ledger[:-2], Trained(ledger[-2].first, ledger[-1].last, ledger[-1].blocks))
    return tuple(ledger)


def of_epochs(lines: Iterable[Sequence[Any]]) -> tuple[Trained, ...]:
    """The ledger of a training in one stage. lines: [epoch, block, rows, digest], of all of its tasks."""
    epochs: dict[int, list[Sequence[Any]]] = {}
    for epoch, *line in lines:
        epochs.setdefault(epoch, []).append(line)
    ledger: tuple[Trained, ...] = ()
    for epoch in sorted(epochs):
        ledger = with_epoch(with_rows(ledger, epoch, epochs[epoch]))
    return ledger


def _summed(lines: Iterable[Sequence[Any]]) -> tuple[BlockRows, ...]:
    counts: dict[int, int] = {}
    sums: dict[int, int] = {}
    for block, count, digest in lines:
        counts[block] = counts.get(block, 0) + count
        sums[block] = (sums.get(block, 0) + int(digest, 16)) % MODULUS
    return tuple(BlockRows(block, counts[block], f"{sums[block]:016x}") for block in sorted(counts))
