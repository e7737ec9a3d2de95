import unittest

from account import MAX_AMOUNT, Account
from componentize_py_types import Err
from wit_world.exports.account import (
    Command,
    Command_Close,
    Command_Deposit,
    Command_Open,
    Command_SetLimits,
    Command_Withdraw,
    Deposit,
    Deposited,
    Event,
    Event_Closed,
    Event_Deposited,
    Event_LimitsSet,
    Event_Opened,
    Event_Withdrawn,
    InsufficientFunds,
    LimitsSet,
    Open,
    Opened,
    OverLimit,
    Rejection,
    Rejection_BalanceTooLarge,
    Rejection_ClosedForGood,
    Rejection_InsufficientFunds,
    Rejection_OverLimit,
    SetLimits,
    State,
    Withdraw,
    Withdrawn,
)
from wit_world.imports.types import Context

CONTEXT = Context(
    id="alice",
    version=0,
    command_id="c1",
    correlation_id="c1",
    at=0,
    by=None,
    seed=0,
)

OPENED = Event_Opened(Opened("Alice"))


def deposited(amount: int) -> Event:
    return Event_Deposited(Deposited(amount))


def withdrawn(amount: int) -> Event:
    return Event_Withdrawn(Withdrawn(amount))


def limits_set(overdraft: int, per_withdrawal: int | None = None) -> Event:
    return Event_LimitsSet(LimitsSet(overdraft, per_withdrawal))


def deposit(amount: int) -> Command:
    return Command_Deposit(Deposit(amount))


def withdraw(amount: int) -> Command:
    return Command_Withdraw(Withdraw(amount))


def given(*events: Event) -> State:
    """The state of an account to which `events` have happened."""
    account = Account()
    return account.evolve(account.initial("alice"), list(events))


class AccountTest(unittest.TestCase):
    def accepts(self, state: State, command: Command, *events: Event) -> State:
        account = Account()
        self.assertEqual(account.decide(CONTEXT, state, command), list(events))
        return account.evolve(state, list(events))

    def refuses(self, state: State, command: Command, rejection: Rejection) -> None:
        with self.assertRaises(Err) as refused:
            Account().decide(CONTEXT, state, command)
        self.assertEqual(refused.exception.value, rejection)

    def test_the_whole_overdraft_can_be_used_and_no_more(self) -> None:
        state = given(OPENED, deposited(10), limits_set(5))
        self.refuses(state, withdraw(16), Rejection_InsufficientFunds(InsufficientFunds(10)))
        empty = self.accepts(state, withdraw(15), withdrawn(15))
        self.refuses(empty, withdraw(1), Rejection_InsufficientFunds(InsufficientFunds(0)))

    def test_a_withdrawal_at_its_limit_is_allowed(self) -> None:
        state = given(OPENED, deposited(10), limits_set(0, 4))
        self.refuses(state, withdraw(5), Rejection_OverLimit(OverLimit(4)))
        self.accepts(state, withdraw(4), withdrawn(4))

    def test_limits_can_be_taken_away(self) -> None:
        limited = given(OPENED, deposited(10), limits_set(0, 4))
        free = self.accepts(limited, Command_SetLimits(SetLimits(0, None)), limits_set(0))
        self.accepts(free, withdraw(10), withdrawn(10))

    def test_the_largest_amounts_do_not_overflow(self) -> None:
        debt = given(OPENED, limits_set(MAX_AMOUNT), withdrawn(MAX_AMOUNT))
        even = self.accepts(debt, deposit(MAX_AMOUNT), deposited(MAX_AMOUNT))
        self.assertEqual((even.balance, even.overdrawn), (0, 0))
        rich = self.accepts(even, deposit(MAX_AMOUNT), deposited(MAX_AMOUNT))
        self.refuses(rich, deposit(1), Rejection_BalanceTooLarge())
        self.accepts(rich, withdraw(MAX_AMOUNT), withdrawn(MAX_AMOUNT))

    def test_a_deposit_that_pays_back_may_exceed_what_fits_a_balance(self) -> None:
        debt = given(OPENED, limits_set(1), withdrawn(1))
        rich = self.accepts(debt, deposit(MAX_AMOUNT), deposited(MAX_AMOUNT))
        self.refuses(rich, deposit(2), Rejection_BalanceTooLarge())
        self.accepts(rich, deposit(1), deposited(1))

    def test_closing_pays_out_the_balance_for_good(self) -> None:
        state = given(OPENED, deposited(7))
        closed = self.accepts(state, Command_Close(), withdrawn(7), Event_Closed())
        self.assertEqual(closed.balance, 0)
        self.refuses(closed, Command_Open(Open("Alice")), Rejection_ClosedForGood())

    def test_a_history_that_no_decision_would_give_still_has_a_state(self) -> None:
        state = given(deposited(MAX_AMOUNT), deposited(1), withdrawn(MAX_AMOUNT))
        self.assertEqual(state.balance, 0)


if __name__ == "__main__":
    unittest.main()
