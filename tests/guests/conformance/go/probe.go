package main

import (
	crypto "crypto/rand"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"conformance.example/guest/bindings/exports/export_conformance_model_probe"
	probe "conformance.example/guest/bindings/imports/conformance_model_probe"
	wit "conformance.example/guest/bindings/wit/types"
)

var calls uint32

// The aggregate probe tells what the standard library sees.
func init() {
	export_conformance_model_probe.Export(export_conformance_model_probe.Aggregate{
		Initial: func(string) probe.State { return probe.State{} },
		Decide:  decideProbe,
		Evolve: func(state probe.State, events []probe.Event) probe.State {
			for _, event := range events {
				switch event.Tag() {
				case probe.Event_Looked:
					state.Looked++
					state.Clock = clock()
				case probe.Event_Counted:
					state.Calls = event.Counted().Calls
				}
			}
			return state
		},
	})
}

func decideProbe(_ probe.Context, _ probe.State, command probe.Command) []probe.Event {
	if command.Tag() == probe.Command_Look {
		return []probe.Event{probe.MakeEventLooked(look())}
	}
	calls++
	return []probe.Event{probe.MakeEventCounted(probe.Counted{Calls: calls})}
}

func look() probe.Looked {
	fmt.Println("it is", clock())
	fmt.Fprintln(os.Stderr, "and all is well")
	time.Sleep(time.Minute)
	secure := make([]uint8, 8)
	crypto.Read(secure)
	_, file := os.Open("/etc/passwd")
	_, socket := net.Dial("tcp", "127.0.0.1:80")
	return probe.Looked{
		Clock:       clock(),
		Random:      []uint64{rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64()},
		Secure:      secure,
		Environment: os.Environ(),
		Arguments:   os.Args,
		File:        complaint(file),
		Socket:      complaint(socket),
	}
}

func complaint(err error) wit.Option[string] {
	if err == nil {
		return wit.None[string]()
	}
	fmt.Fprintln(os.Stderr, "refused:", err)
	return wit.Some(err.Error())
}

func clock() uint64 {
	return uint64(time.Now().UnixMilli())
}
