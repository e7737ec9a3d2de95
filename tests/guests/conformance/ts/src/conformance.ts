// What every language's component is held to; see ../../src/lib.rs.

import type * as Echo from "conformance:model/echo";
import type * as Probe from "conformance:model/probe";

/** Says back what it is told. */
export const echo = {
  initial(_id: string): Echo.State {
    return { count: 0, last: undefined };
  },

  decide(_context: Echo.Context, _state: Echo.State, command: Echo.Command): Echo.Event[] {
    switch (command.tag) {
      case "keep":
        return command.val.values.map(kept);
      case "refuse":
        return refuse(command.val);
    }
  },

  evolve(state: Echo.State, events: Echo.Event[]): Echo.State {
    return events.reduce(({ count }, { val }) => ({ count: count + 1, last: val.value }), state);
  },
};

function kept(value: Echo.Sample): Echo.Event {
  return { tag: "kept", val: { value } };
}

function refuse({ number, value }: Echo.Refuse): Echo.Event[] {
  if (number > 99) return [kept(value)];
  if (number === 98) throw { tag: "r98", val: { why: value.text } } satisfies Echo.Rejection;
  if (number === 99) throw { tag: "r99", val: { value } } satisfies Echo.Rejection;
  throw { tag: `r${number}` as "r0" } satisfies Echo.Rejection;
}

let calls = 0;

/** Tells what the engine sees. It has no files, no connections, and no way to sleep. */
export const probe = {
  initial(_id: string): Probe.State {
    return { looked: 0, clock: 0n, calls: 0 };
  },

  decide(_context: Probe.Context, _state: Probe.State, command: Probe.Command): Probe.Event[] {
    switch (command.tag) {
      case "look":
        return [{ tag: "looked", val: look() }];
      case "count":
        calls += 1;
        return [{ tag: "counted", val: { calls } }];
    }
  },

  evolve(state: Probe.State, events: Probe.Event[]): Probe.State {
    return events.reduce(after, state);
  },
};

function after(state: Probe.State, event: Probe.Event): Probe.State {
  switch (event.tag) {
    case "looked":
      return { ...state, looked: state.looked + 1, clock: clock() };
    case "counted":
      return { ...state, calls: event.val.calls };
  }
}

function look(): Probe.Looked {
  console.log(`it is ${clock()}`);
  console.error("and all is well");
  return {
    clock: clock(),
    random: BigUint64Array.from({ length: 4 }, () => BigInt(Math.floor(Math.random() * 2 ** 53))),
    secure: crypto.getRandomValues(new Uint8Array(8)),
    environment: [],
    arguments: [],
    file: undefined,
    socket: undefined,
  };
}

function clock(): bigint {
  return BigInt(Date.now());
}
