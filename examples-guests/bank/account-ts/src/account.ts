// An account: it holds money, and within its limits its owner may owe the bank some.

import type {
  Aggregate,
  Command,
  Context,
  Deposit,
  Event,
  Open,
  Rejection,
  SetLimits,
  State,
  Withdraw,
} from "bank:model/account";

const MAX_AMOUNT = 2n ** 64n - 1n;

/** What the host calls: an export for each aggregate of the component, called like it. */
export const account = { initial, decide, evolve } satisfies Aggregate;

function initial(_id: string): State {
  return {
    owner: "",
    balance: 0n,
    overdrawn: 0n,
    overdraft: 0n,
    perWithdrawal: undefined,
    open: false,
    closed: false,
  };
}

/** The events of a command; a refused one throws its rejection. */
function decide(_context: Context, state: State, command: Command): Event[] {
  if (command.tag === "open") return open(state, command.val);
  if (!state.open) throw rejection({ tag: "not-open" });
  switch (command.tag) {
    case "deposit":
      return deposit(state, command.val);
    case "withdraw":
      return withdraw(state, command.val);
    case "set-limits":
      return setLimits(state, command.val);
    case "close":
      return close(state);
  }
}

function evolve(state: State, events: Event[]): State {
  return events.reduce(after, state);
}

function open(state: State, { owner }: Open): Event[] {
  if (state.closed) throw rejection({ tag: "closed-for-good" });
  if (state.open) throw rejection({ tag: "already-open" });
  return [{ tag: "opened", val: { owner } }];
}

function deposit(state: State, { amount }: Deposit): Event[] {
  if (amount === 0n) throw rejection({ tag: "no-amount" });
  const kept = amount - min(amount, state.overdrawn);
  if (state.balance + kept > MAX_AMOUNT) throw rejection({ tag: "balance-too-large" });
  return [{ tag: "deposited", val: { amount } }];
}

function withdraw(state: State, { amount }: Withdraw): Event[] {
  const { balance, overdraft, overdrawn, perWithdrawal } = state;
  if (amount === 0n) throw rejection({ tag: "no-amount" });
  if (perWithdrawal !== undefined && amount > perWithdrawal) {
    throw rejection({ tag: "over-limit", val: { perWithdrawal } });
  }
  const credit = overdraft - min(overdraft, overdrawn);
  if (amount > balance + credit) {
    throw rejection({ tag: "insufficient-funds", val: { balance } });
  }
  return [{ tag: "withdrawn", val: { amount } }];
}

function setLimits(state: State, { overdraft, perWithdrawal }: SetLimits): Event[] {
  if (overdraft < state.overdrawn) throw inDebt(state);
  return [{ tag: "limits-set", val: { overdraft, perWithdrawal } }];
}

function close(state: State): Event[] {
  if (state.overdrawn > 0n) throw inDebt(state);
  const closed: Event = { tag: "closed" };
  if (state.balance === 0n) return [closed];
  return [{ tag: "withdrawn", val: { amount: state.balance } }, closed];
}

function inDebt({ overdrawn }: State): Rejection {
  return rejection({ tag: "in-debt", val: { overdrawn } });
}

/** Has the compiler see that what is thrown is a rejection of the model. */
function rejection(rejection: Rejection): Rejection {
  return rejection;
}

/**
 * The state after one event. A `bigint` has no upper end but a `u64` has: sums end there, where
 * `decide` has seen to it that they fit, so that every history has a state.
 */
function after(state: State, event: Event): State {
  switch (event.tag) {
    case "opened":
      return { ...state, owner: event.val.owner, open: true };
    case "deposited": {
      const { amount } = event.val;
      const paidBack = min(amount, state.overdrawn);
      return {
        ...state,
        overdrawn: state.overdrawn - paidBack,
        balance: min(state.balance + amount - paidBack, MAX_AMOUNT),
      };
    }
    case "withdrawn": {
      const { amount } = event.val;
      const fromBalance = min(amount, state.balance);
      return {
        ...state,
        balance: state.balance - fromBalance,
        overdrawn: min(state.overdrawn + amount - fromBalance, MAX_AMOUNT),
      };
    }
    case "limits-set":
      return { ...state, ...event.val };
    case "closed":
      return { ...state, open: false, closed: true };
  }
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
