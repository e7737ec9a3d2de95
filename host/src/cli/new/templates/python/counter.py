"""A counter that holds no more than a hundred."""

from functools import reduce

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.counter import (
    Added,
    Command,
    Command_Add,
    Command_Clear,
    Event,
    Event_Added,
    Event_Cleared,
    Rejection_TooMany,
    State,
    TooMany,
)
from wit_world.imports.types import Context

LIMIT = 100
"""What a counter holds at most."""


class Counter(exports.Counter):
    """What the host calls: a class for each aggregate of the component, called like it."""

    def initial(self, id: str) -> State:
        return State(count=0)

    def decide(self, context: Context, state: State, command: Command) -> list[Event]:
        """The events of a command; a command that is refused raises the reason."""
        match command:
            case Command_Add(add):
                room = max(0, LIMIT - state.count)
                if add.amount > room:
                    raise Err(Rejection_TooMany(TooMany(room)))
                return [Event_Added(Added(add.amount))]
            case Command_Clear():
                return [Event_Cleared()] if state.count > 0 else []

    def evolve(self, state: State, events: list[Event]) -> State:
        return reduce(after, events, state)


def after(state: State, event: Event) -> State:
    match event:
        case Event_Added(added):
            return State(state.count + added.amount)
        case Event_Cleared():
            return State(0)
