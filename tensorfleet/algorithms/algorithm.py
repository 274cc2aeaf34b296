"""What an algorithm is: its name, its parameters, scikit-learn's class that it equals, and how it spreads over workers.

The rule: this is data. A plan reads it to lay out tasks; operators read it to build the estimator.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from tensorfleet.algorithms.parameters import Parameter
from tensorfleet.algorithms.rounds import Rounds
from tensorfleet.model import Value
from tensorfleet.models.naming import framework_of
from tensorfleet.plan import Plan

Goal: TypeAlias = Literal["classification", "regression"]

Rules: TypeAlias = Callable[[Mapping[str, Value]], dict[str, str]]
"""`rules(parameters)`: what is wrong with parameters that are right one by one, by parameter."""

Complete: TypeAlias = Callable[[Any, Any, Any, int, dict[str, list[Any]] | None], None]
"""`complete(estimator, X, y, count, members)` gives an unfitted ensemble all that scikit-learn's fit would, save the
members themselves; these are given where `needs_members` says so."""


class Members(Struct, frozen=True, kw_only=True):
    """How an ensemble spreads: in aligned ranges of its members.

    size: members of a range; a constant of the family, so that more members never redraw earlier ones. count: the
    parameter that tells how many there are. apart: parameters that leave a range's members as they are. attributes:
    the fitted lists that hold the members. complete: see Complete. needs_members: whether it needs them, by parameters.
    """

    size: int
    complete: Complete
    attributes: tuple[str, ...] = ("estimators_",)
    count: str = "n_estimators"
    apart: frozenset[str] = frozenset({"n_estimators", "n_jobs", "verbose", "warm_start", "oob_score"})
    needs_members: Callable[[Mapping[str, Value]], bool] = lambda parameters: bool(parameters.get("oob_score"))


class Algorithm(Struct, frozen=True, kw_only=True):
    """An algorithm that jobs can name.

    estimator: the qualified name of scikit-learn's class. display: for people, as in a model's display name. operator:
    fits a range of members, or the whole. scale: whether numbers are standardised before it. single: whether it takes
    features of 32 bits, which are then prepared so, for all slots to map. members: None where one task fits the whole.
    rounds: how it trains, where that goes by rounds. takes: what datasets it trains on, of `table` and `image`. rules:
    about several parameters at once. plan: its own way to unroll, for one that trains no model of scikit-learn's; such
    a job may do without a dataset. listed: whether people are shown it. requires: engines that a worker must have for
    it, by the names of `tensorfleet.capabilities`; its jobs' numerics cover their versions.
    """

    name: str
    estimator: str
    goal: Goal
    display: str
    operator: str
    parameters: Mapping[str, Parameter]
    aliases: tuple[str, ...] = ()
    scale: bool = False
    single: bool = False
    members: Members | None = None
    rounds: Rounds | None = None
    takes: frozenset[str] = frozenset({"table"})
    rules: Rules = lambda parameters: {}
    plan: Plan | None = None
    listed: bool = True
    requires: tuple[str, ...] = ()

    @property
    def framework(self) -> str:
        """What its models are made of; see `models/frameworks.py`."""
        return framework_of(self.estimator)

    @property
    def way(self) -> Literal["members", "whole", "rounds"]:
        if self.rounds is not None:
            return "rounds"
        return "whole" if self.members is None else "members"

    def defaults(self) -> dict[str, Value]:
        return {name: parameter.default for name, parameter in self.parameters.items()}
