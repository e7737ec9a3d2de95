// A counter that holds no more than a hundred.

import type { Aggregate, Command, Context, Event, Rejection, State } from "{{name}}:model/counter";

/** What a counter holds at most. */
const LIMIT = 100;

/** What the host calls: an export for each aggregate of the component, called like it. */
export const counter = { initial, decide, evolve } satisfies Aggregate;

function initial(_id: string): State {
  return { count: 0 };
}

/** The events of a command; a command that is refused throws the reason. */
function decide(_context: Context, state: State, command: Command): Event[] {
  switch (command.tag) {
    case "add": {
      const room = Math.max(0, LIMIT - state.count);
      const { amount } = command.val;
      if (amount > room) throw { tag: "too-many", val: { room } } satisfies Rejection;
      return [{ tag: "added", val: { amount } }];
    }
    case "clear":
      return state.count === 0 ? [] : [{ tag: "cleared" }];
  }
}

function evolve(state: State, events: Event[]): State {
  return events.reduce(after, state);
}

function after({ count }: State, event: Event): State {
  switch (event.tag) {
    case "added":
      return { count: count + event.val.amount };
    case "cleared":
      return { count: 0 };
  }
}
