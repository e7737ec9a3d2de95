import assert from "node:assert/strict";
import { test } from "node:test";
import type { Command, Context, Event } from "{{name}}:model/counter";

import { counter } from "../src/counter.js";

const context: Context = {
  id: "door",
  version: 0n,
  commandId: "1",
  correlationId: "1",
  at: 0n,
  seed: 0n,
};

/** What a counter to which `events` have happened makes of `command`. */
function decide(events: Event[], command: Command): Event[] {
  return counter.decide(context, counter.evolve(counter.initial("door"), events), command);
}

test("a counter counts", () => {
  const added = decide([], { tag: "add", val: { amount: 3 } });
  assert.deepEqual(added, [{ tag: "added", val: { amount: 3 } }]);
});

test("a counter holds a hundred", () => {
  const full: Event[] = [{ tag: "added", val: { amount: 99 } }];
  assert.throws(() => decide(full, { tag: "add", val: { amount: 2 } }), {
    tag: "too-many",
    val: { room: 1 },
  });
});
