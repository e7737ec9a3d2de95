import assert from "node:assert/strict";
import { test } from "node:test";

import type { Command, Context, Event, Rejection, State } from "bank:model/account";

import { account } from "../src/account.js";

const MAX_AMOUNT = 2n ** 64n - 1n;

const context: Context = {
  id: "alice",
  version: 0n,
  commandId: "c1",
  correlationId: "c1",
  at: 0n,
  by: undefined,
  seed: 0n,
};

const opened: Event = { tag: "opened", val: { owner: "Alice" } };
const deposited = (amount: bigint): Event => ({ tag: "deposited", val: { amount } });
const withdrawn = (amount: bigint): Event => ({ tag: "withdrawn", val: { amount } });
const limitsSet = (overdraft: bigint, perWithdrawal?: bigint): Event => ({
  tag: "limits-set",
  val: { overdraft, perWithdrawal },
});
const deposit = (amount: bigint): Command => ({ tag: "deposit", val: { amount } });
const withdraw = (amount: bigint): Command => ({ tag: "withdraw", val: { amount } });

/** The state of an account to which `events` have happened. */
function given(...events: Event[]): State {
  return account.evolve(account.initial("alice"), events);
}

function accepts(state: State, command: Command, ...events: Event[]): State {
  assert.deepEqual(account.decide(context, state, command), events);
  return account.evolve(state, events);
}

function refuses(state: State, command: Command, rejection: Rejection): void {
  assert.throws(
    () => account.decide(context, state, command),
    (thrown) => {
      assert.deepEqual(thrown, rejection);
      return true;
    },
  );
}

test("the whole overdraft can be used and no more", () => {
  const state = given(opened, deposited(10n), limitsSet(5n));
  refuses(state, withdraw(16n), { tag: "insufficient-funds", val: { balance: 10n } });
  const empty = accepts(state, withdraw(15n), withdrawn(15n));
  refuses(empty, withdraw(1n), { tag: "insufficient-funds", val: { balance: 0n } });
});

test("a withdrawal at its limit is allowed", () => {
  const state = given(opened, deposited(10n), limitsSet(0n, 4n));
  refuses(state, withdraw(5n), { tag: "over-limit", val: { perWithdrawal: 4n } });
  accepts(state, withdraw(4n), withdrawn(4n));
});

test("limits can be taken away", () => {
  const limited = given(opened, deposited(10n), limitsSet(0n, 4n));
  const free = accepts(
    limited,
    { tag: "set-limits", val: { overdraft: 0n, perWithdrawal: undefined } },
    limitsSet(0n),
  );
  accepts(free, withdraw(10n), withdrawn(10n));
});

test("the largest amounts do not overflow", () => {
  const debt = given(opened, limitsSet(MAX_AMOUNT), withdrawn(MAX_AMOUNT));
  const even = accepts(debt, deposit(MAX_AMOUNT), deposited(MAX_AMOUNT));
  assert.deepEqual([even.balance, even.overdrawn], [0n, 0n]);
  const rich = accepts(even, deposit(MAX_AMOUNT), deposited(MAX_AMOUNT));
  refuses(rich, deposit(1n), { tag: "balance-too-large" });
  accepts(rich, withdraw(MAX_AMOUNT), withdrawn(MAX_AMOUNT));
});

test("a deposit that pays back may exceed what fits a balance", () => {
  const debt = given(opened, limitsSet(1n), withdrawn(1n));
  const rich = accepts(debt, deposit(MAX_AMOUNT), deposited(MAX_AMOUNT));
  refuses(rich, deposit(2n), { tag: "balance-too-large" });
  accepts(rich, deposit(1n), deposited(1n));
});

test("closing pays out the balance, for good", () => {
  const state = given(opened, deposited(7n));
  const closed = accepts(state, { tag: "close" }, withdrawn(7n), { tag: "closed" });
  assert.equal(closed.balance, 0n);
  refuses(closed, { tag: "open", val: { owner: "Alice" } }, { tag: "closed-for-good" });
});

test("a history that no decision would give still has a state", () => {
  const state = given(deposited(MAX_AMOUNT), deposited(1n), withdrawn(MAX_AMOUNT));
  assert.equal(state.balance, 0n);
});
