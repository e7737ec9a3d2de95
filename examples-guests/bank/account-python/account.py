"""An account: it holds money, and within its limits its owner may owe the bank some."""

from dataclasses import replace
from functools import reduce

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.account import (
    Command,
    Command_Close,
    Command_Deposit,
    Command_Open,
    Command_SetLimits,
    Command_Withdraw,
    Deposited,
    Event,
    Event_Closed,
    Event_Deposited,
    Event_LimitsSet,
    Event_Opened,
    Event_Withdrawn,
    InDebt,
    InsufficientFunds,
    LimitsSet,
    Opened,
    OverLimit,
    Rejection_AlreadyOpen,
    Rejection_BalanceTooLarge,
    Rejection_ClosedForGood,
    Rejection_InDebt,
    Rejection_InsufficientFunds,
    Rejection_NoAmount,
    Rejection_NotOpen,
    Rejection_OverLimit,
    State,
    Withdrawn,
)
from wit_world.imports.types import Context

MAX_AMOUNT = 2**64 - 1


class Account(exports.Account):
    """What the host calls: a class for each aggregate of the component, called like it."""

    def initial(self, id: str) -> State:
        return State(
            owner="",
            balance=0,
            overdrawn=0,
            overdraft=0,
            per_withdrawal=None,
            open=False,
            closed=False,
        )

    def decide(self, context: Context, state: State, command: Command) -> list[Event]:
        """The events of a command; a refused one raises its rejection."""
        match command:
            case Command_Open(opening):
                return [open_account(state, opening.owner)]
            case _ if not state.open:
                raise Err(Rejection_NotOpen())
            case Command_Deposit(deposited):
                return [deposit(state, deposited.amount)]
            case Command_Withdraw(withdrawn):
                return [withdraw(state, withdrawn.amount)]
            case Command_SetLimits(limits):
                return [set_limits(state, limits.overdraft, limits.per_withdrawal)]
            case Command_Close():
                return close(state)

    def evolve(self, state: State, events: list[Event]) -> State:
        return reduce(after, events, state)


def open_account(state: State, owner: str) -> Event:
    if state.closed:
        raise Err(Rejection_ClosedForGood())
    if state.open:
        raise Err(Rejection_AlreadyOpen())
    return Event_Opened(Opened(owner))


def deposit(state: State, amount: int) -> Event:
    if amount == 0:
        raise Err(Rejection_NoAmount())
    kept = max(amount - state.overdrawn, 0)
    if state.balance + kept > MAX_AMOUNT:
        raise Err(Rejection_BalanceTooLarge())
    return Event_Deposited(Deposited(amount))


def withdraw(state: State, amount: int) -> Event:
    if amount == 0:
        raise Err(Rejection_NoAmount())
    if state.per_withdrawal is not None and amount > state.per_withdrawal:
        raise Err(Rejection_OverLimit(OverLimit(state.per_withdrawal)))
    credit = max(state.overdraft - state.overdrawn, 0)
    if amount > state.balance + credit:
        raise Err(Rejection_InsufficientFunds(InsufficientFunds(state.balance)))
    return Event_Withdrawn(Withdrawn(amount))


def set_limits(state: State, overdraft: int, per_withdrawal: int | None) -> Event:
    if overdraft < state.overdrawn:
        raise in_debt(state)
    return Event_LimitsSet(LimitsSet(overdraft, per_withdrawal))


def close(state: State) -> list[Event]:
    if state.overdrawn > 0:
        raise in_debt(state)
    if state.balance == 0:
        return [Event_Closed()]
    return [Event_Withdrawn(Withdrawn(state.balance)), Event_Closed()]


def in_debt(state: State) -> Err:
    return Err(Rejection_InDebt(InDebt(state.overdrawn)))


def after(state: State, event: Event) -> State:
    """The state after one event.

    An int has no upper end but a u64 has: sums end there, where `decide` has seen to it that
    they fit, so that every history has a state.
    """
    match event:
        case Event_Opened(opened):
            return replace(state, owner=opened.owner, open=True)
        case Event_Deposited(deposited):
            paid_back = min(deposited.amount, state.overdrawn)
            balance = state.balance + deposited.amount - paid_back
            return replace(
                state,
                overdrawn=state.overdrawn - paid_back,
                balance=min(balance, MAX_AMOUNT),
            )
        case Event_Withdrawn(withdrawn):
            from_balance = min(withdrawn.amount, state.balance)
            overdrawn = state.overdrawn + withdrawn.amount - from_balance
            return replace(
                state,
                balance=state.balance - from_balance,
                overdrawn=min(overdrawn, MAX_AMOUNT),
            )
        case Event_LimitsSet(limits):
            return replace(
                state,
                overdraft=limits.overdraft,
                per_withdrawal=limits.per_withdrawal,
            )
        case Event_Closed():
            return replace(state, open=False, closed=True)
