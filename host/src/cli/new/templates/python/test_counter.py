import unittest

from componentize_py_types import Err
from counter import Counter
from wit_world.exports.counter import (
    Add,
    Added,
    Command,
    Command_Add,
    Event,
    Event_Added,
    Rejection_TooMany,
    TooMany,
)
from wit_world.imports.types import Context

CONTEXT = Context("door", version=0, command_id="1", correlation_id="1", at=0, by=None, seed=0)


def decide(events: list[Event], command: Command) -> list[Event]:
    """What a counter to which `events` have happened makes of `command`."""
    counter = Counter()
    return counter.decide(CONTEXT, counter.evolve(counter.initial("door"), events), command)


class CounterTest(unittest.TestCase):
    def test_a_counter_counts(self) -> None:
        self.assertEqual(decide([], Command_Add(Add(3))), [Event_Added(Added(3))])

    def test_a_counter_holds_a_hundred(self) -> None:
        with self.assertRaises(Err) as refused:
            decide([Event_Added(Added(99))], Command_Add(Add(2)))
        self.assertEqual(refused.exception.value, Rejection_TooMany(TooMany(1)))


if __name__ == "__main__":
    unittest.main()
