package main

import (
	"math"
	"reflect"
	"testing"

	bank "bank.example/account/bindings/imports/bank_model_account"
	wit "bank.example/account/bindings/wit/types"
)

func opened() bank.Event {
	return bank.MakeEventOpened(bank.Opened{Owner: "Alice"})
}

func deposited(amount uint64) bank.Event {
	return bank.MakeEventDeposited(bank.Deposited{Amount: amount})
}

func withdrawn(amount uint64) bank.Event {
	return bank.MakeEventWithdrawn(bank.Withdrawn{Amount: amount})
}

func limitsSet(overdraft uint64, perWithdrawal wit.Option[uint64]) bank.Event {
	return bank.MakeEventLimitsSet(bank.LimitsSet{Overdraft: overdraft, PerWithdrawal: perWithdrawal})
}

func depositOf(amount uint64) bank.Command {
	return bank.MakeCommandDeposit(bank.Deposit{Amount: amount})
}

func withdrawalOf(amount uint64) bank.Command {
	return bank.MakeCommandWithdraw(bank.Withdraw{Amount: amount})
}

func insufficient(balance uint64) bank.Rejection {
	return bank.MakeRejectionInsufficientFunds(bank.InsufficientFunds{Balance: balance})
}

var (
	anyAmount = wit.None[uint64]()
	atMost4   = wit.Some[uint64](4)
)

// given is the state of an account to which events have happened.
func given(events ...bank.Event) bank.State {
	return evolve(initial("alice"), events)
}

func accepts(t *testing.T, state bank.State, command bank.Command, want ...bank.Event) bank.State {
	t.Helper()
	got, rejection := decide(bank.Context{}, state, command)
	if rejection != nil {
		t.Fatalf("%v is refused: %v", command, *rejection)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%v gives %v, not %v", command, got, want)
	}
	return evolve(state, got)
}

func refuses(t *testing.T, state bank.State, command bank.Command, want bank.Rejection) {
	t.Helper()
	events, got := decide(bank.Context{}, state, command)
	if got == nil {
		t.Fatalf("%v is not refused: %v", command, events)
	}
	if *got != want {
		t.Fatalf("%v is refused with %v, not %v", command, *got, want)
	}
}

func TestTheWholeOverdraftCanBeUsedAndNoMore(t *testing.T) {
	state := given(opened(), deposited(10), limitsSet(5, anyAmount))
	refuses(t, state, withdrawalOf(16), insufficient(10))
	empty := accepts(t, state, withdrawalOf(15), withdrawn(15))
	refuses(t, empty, withdrawalOf(1), insufficient(0))
}

func TestAWithdrawalAtItsLimitIsAllowed(t *testing.T) {
	state := given(opened(), deposited(10), limitsSet(0, atMost4))
	refuses(t, state, withdrawalOf(5), bank.MakeRejectionOverLimit(bank.OverLimit{PerWithdrawal: 4}))
	accepts(t, state, withdrawalOf(4), withdrawn(4))
}

func TestLimitsCanBeTakenAway(t *testing.T) {
	limited := given(opened(), deposited(10), limitsSet(0, atMost4))
	none := bank.MakeCommandSetLimits(bank.SetLimits{PerWithdrawal: anyAmount})
	free := accepts(t, limited, none, limitsSet(0, anyAmount))
	accepts(t, free, withdrawalOf(10), withdrawn(10))
}

func TestTheLargestAmountsDoNotOverflow(t *testing.T) {
	const most = math.MaxUint64
	debt := given(opened(), limitsSet(most, anyAmount), withdrawn(most))
	even := accepts(t, debt, depositOf(most), deposited(most))
	if even.Balance != 0 || even.Overdrawn != 0 {
		t.Fatalf("balance %d, overdrawn %d", even.Balance, even.Overdrawn)
	}
	rich := accepts(t, even, depositOf(most), deposited(most))
	refuses(t, rich, depositOf(1), bank.MakeRejectionBalanceTooLarge())
	accepts(t, rich, withdrawalOf(most), withdrawn(most))
}

func TestADepositThatPaysBackMayExceedWhatFitsABalance(t *testing.T) {
	const most = math.MaxUint64
	debt := given(opened(), limitsSet(1, anyAmount), withdrawn(1))
	rich := accepts(t, debt, depositOf(most), deposited(most))
	refuses(t, rich, depositOf(2), bank.MakeRejectionBalanceTooLarge())
	accepts(t, rich, depositOf(1), deposited(1))
}

func TestClosingPaysOutTheBalanceForGood(t *testing.T) {
	state := given(opened(), deposited(7))
	closed := accepts(t, state, bank.MakeCommandClose(), withdrawn(7), bank.MakeEventClosed())
	if closed.Balance != 0 {
		t.Fatalf("balance %d", closed.Balance)
	}
	refuses(t, closed, bank.MakeCommandOpen(bank.Open{Owner: "Alice"}), bank.MakeRejectionClosedForGood())
}

func TestAHistoryThatNoDecisionWouldGiveStillHasAState(t *testing.T) {
	state := given(deposited(math.MaxUint64), deposited(1), withdrawn(math.MaxUint64))
	if state.Balance != 0 {
		t.Fatalf("balance %d", state.Balance)
	}
}
