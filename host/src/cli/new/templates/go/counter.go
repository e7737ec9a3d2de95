// A counter that holds no more than a hundred.
package main

import (
	"math"

	counter "example.com/{{name}}/bindings/imports/{{snake}}_model_counter"
)

// limit is what a counter holds at most.
const limit = 100

func main() {}

func initial(id string) counter.State {
	return counter.State{Count: 0}
}

// decide gives the events of a command, or the reason why it is refused.
func decide(_ counter.Context, state counter.State, command counter.Command) ([]counter.Event, *counter.Rejection) {
	switch command.Tag() {
	case counter.Command_Add:
		amount := command.Add().Amount
		room := limit - min(limit, state.Count)
		if amount > room {
			tooMany := counter.MakeRejectionTooMany(counter.TooMany{Room: room})
			return nil, &tooMany
		}
		return []counter.Event{counter.MakeEventAdded(counter.Added{Amount: amount})}, nil
	case counter.Command_Clear:
		if state.Count == 0 {
			return nil, nil
		}
		return []counter.Event{counter.MakeEventCleared()}, nil
	default:
		panic("a command that the model does not have")
	}
}

func evolve(state counter.State, events []counter.Event) counter.State {
	for _, event := range events {
		switch event.Tag() {
		case counter.Event_Added:
			amount := event.Added().Amount
			state.Count += min(amount, math.MaxUint32-state.Count)
		case counter.Event_Cleared:
			state.Count = 0
		}
	}
	return state
}
