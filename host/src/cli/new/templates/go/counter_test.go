package main

import (
	"reflect"
	"testing"

	counter "example.com/{{name}}/bindings/imports/{{snake}}_model_counter"
)

func add(amount uint32) counter.Command {
	return counter.MakeCommandAdd(counter.Add{Amount: amount})
}

func added(amount uint32) counter.Event {
	return counter.MakeEventAdded(counter.Added{Amount: amount})
}

func after(events ...counter.Event) counter.State {
	return evolve(initial("door"), events)
}

func TestACounterCounts(t *testing.T) {
	events, rejection := decide(counter.Context{}, after(), add(3))
	if rejection != nil || !reflect.DeepEqual(events, []counter.Event{added(3)}) {
		t.Errorf("decided %v, %v", events, rejection)
	}
}

func TestACounterHoldsAHundred(t *testing.T) {
	events, rejection := decide(counter.Context{}, after(added(99)), add(2))
	if rejection == nil || rejection.TooMany().Room != 1 {
		t.Errorf("decided %v, %v", events, rejection)
	}
}
