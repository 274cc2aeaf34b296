"""The registry's names and what is known: aliases, deletions, results to forget."""

from orchestrator.core import records as r
from orchestrator.core.decision import Decision, join, refuse, reply
from orchestrator.core.events import DeleteDataset, DeleteModel, ForgetResults, SetAlias
from orchestrator.core.state import Now, State
from tensorfleet.errors import FailedPrecondition, NotFound


def set_alias(state: State, event: SetAlias, now: Now) -> Decision:
    versions = state.models.get(event.name)
    if versions is None:
        return refuse(event.ticket, NotFound(f"no model {event.name!r}; `models list` shows them"))
    if event.version and event.version not in versions:
        return refuse(event.ticket, NotFound(f"model {event.name} has no version {event.version!r}"))
    return join([Decision((r.AliasSet(event.name, event.alias, event.version),)), reply(event.ticket, event.version)])


def delete_model(state: State, event: DeleteModel, now: Now) -> Decision:
    versions = list(state.models.get(event.name, {}))
    if event.version:
        versions = [version for version in versions if version == event.version]
    if not versions:
        which = f"{event.name}@{event.version}" if event.version else event.name
        return refuse(event.ticket, NotFound(f"no model {which!r}; `models list` shows them"))
    aliases = state.aliases.get(event.name, {})
    named = [alias for alias, version in aliases.items() if version in versions]
    if named and event.version:
        text = f"the alias {named[0]!r} names {event.name}@{event.version}: move or remove the alias first"
        return refuse(event.ticket, FailedPrecondition(text))
    gone = [r.AliasSet(event.name, alias, "") for alias in named]
    deleted = [r.ModelDeleted(event.name, version) for version in versions]
    return join([Decision((*gone, *deleted)), reply(event.ticket, len(versions))])


def delete_dataset(state: State, event: DeleteDataset, now: Now) -> Decision:
    if event.name not in state.datasets:
        return refuse(event.ticket, NotFound(f"no dataset {event.name!r} was added; `datasets list` shows them"))
    return join([Decision((r.DatasetDeleted(event.name),)), reply(event.ticket, event.name)])


def forget_results(state: State, event: ForgetResults, now: Now) -> Decision:
    return join([Decision((r.ResultsForgotten(event.keys, now.wall),)), reply(event.ticket, len(event.keys))])
