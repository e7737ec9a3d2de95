// An account: it holds money, and within its limits its owner may owe the bank some.
package main

import (
	"math"
	"math/bits"

	bank "bank.example/account/bindings/imports/bank_model_account"
)

func main() {}

func initial(string) bank.State {
	return bank.State{}
}

func decide(_ bank.Context, state bank.State, command bank.Command) ([]bank.Event, *bank.Rejection) {
	if command.Tag() == bank.Command_Open {
		return open(state, command.Open().Owner)
	}
	if !state.Open {
		return reject(bank.MakeRejectionNotOpen())
	}
	switch command.Tag() {
	case bank.Command_Deposit:
		return deposit(state, command.Deposit().Amount)
	case bank.Command_Withdraw:
		return withdraw(state, command.Withdraw().Amount)
	case bank.Command_SetLimits:
		return setLimits(state, command.SetLimits())
	case bank.Command_Close:
		return closeAccount(state)
	default:
		panic("unknown command")
	}
}

func evolve(state bank.State, events []bank.Event) bank.State {
	for _, event := range events {
		state = after(state, event)
	}
	return state
}

func open(state bank.State, owner string) ([]bank.Event, *bank.Rejection) {
	if state.Closed {
		return reject(bank.MakeRejectionClosedForGood())
	}
	if state.Open {
		return reject(bank.MakeRejectionAlreadyOpen())
	}
	return accept(bank.MakeEventOpened(bank.Opened{Owner: owner}))
}

func deposit(state bank.State, amount uint64) ([]bank.Event, *bank.Rejection) {
	if amount == 0 {
		return reject(bank.MakeRejectionNoAmount())
	}
	kept := amount - min(amount, state.Overdrawn)
	if kept > math.MaxUint64-state.Balance {
		return reject(bank.MakeRejectionBalanceTooLarge())
	}
	return accept(bank.MakeEventDeposited(bank.Deposited{Amount: amount}))
}

func withdraw(state bank.State, amount uint64) ([]bank.Event, *bank.Rejection) {
	if amount == 0 {
		return reject(bank.MakeRejectionNoAmount())
	}
	if most := state.PerWithdrawal.SomeOr(math.MaxUint64); amount > most {
		return reject(bank.MakeRejectionOverLimit(bank.OverLimit{PerWithdrawal: most}))
	}
	credit := state.Overdraft - min(state.Overdraft, state.Overdrawn)
	if amount > saturatingAdd(state.Balance, credit) {
		return reject(bank.MakeRejectionInsufficientFunds(bank.InsufficientFunds{Balance: state.Balance}))
	}
	return accept(bank.MakeEventWithdrawn(bank.Withdrawn{Amount: amount}))
}

func setLimits(state bank.State, limits bank.SetLimits) ([]bank.Event, *bank.Rejection) {
	if limits.Overdraft < state.Overdrawn {
		return reject(inDebt(state))
	}
	return accept(bank.MakeEventLimitsSet(bank.LimitsSet(limits)))
}

func closeAccount(state bank.State) ([]bank.Event, *bank.Rejection) {
	if state.Overdrawn > 0 {
		return reject(inDebt(state))
	}
	if state.Balance == 0 {
		return accept(bank.MakeEventClosed())
	}
	rest := bank.MakeEventWithdrawn(bank.Withdrawn{Amount: state.Balance})
	return accept(rest, bank.MakeEventClosed())
}

func inDebt(state bank.State) bank.Rejection {
	return bank.MakeRejectionInDebt(bank.InDebt{Overdrawn: state.Overdrawn})
}

func accept(events ...bank.Event) ([]bank.Event, *bank.Rejection) {
	return events, nil
}

func reject(rejection bank.Rejection) ([]bank.Event, *bank.Rejection) {
	return nil, &rejection
}

// after is the state after one event. It saturates where decide has seen to it that the numbers
// fit, so that every history has a state.
func after(state bank.State, event bank.Event) bank.State {
	switch event.Tag() {
	case bank.Event_Opened:
		state.Owner = event.Opened().Owner
		state.Open = true
	case bank.Event_Deposited:
		amount := event.Deposited().Amount
		paidBack := min(amount, state.Overdrawn)
		state.Overdrawn -= paidBack
		state.Balance = saturatingAdd(state.Balance, amount-paidBack)
	case bank.Event_Withdrawn:
		amount := event.Withdrawn().Amount
		fromBalance := min(amount, state.Balance)
		state.Balance -= fromBalance
		state.Overdrawn = saturatingAdd(state.Overdrawn, amount-fromBalance)
	case bank.Event_LimitsSet:
		limits := event.LimitsSet()
		state.Overdraft = limits.Overdraft
		state.PerWithdrawal = limits.PerWithdrawal
	case bank.Event_Closed:
		state.Open = false
		state.Closed = true
	}
	return state
}

func saturatingAdd(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry != 0 {
		return math.MaxUint64
	}
	return sum
}
