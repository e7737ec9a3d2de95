package main

import (
	"conformance.example/guest/bindings/exports/export_conformance_model_echo"
	echo "conformance.example/guest/bindings/imports/conformance_model_echo"
	wit "conformance.example/guest/bindings/wit/types"
)

// The aggregate echo says back what it is told.
func init() {
	export_conformance_model_echo.Export(export_conformance_model_echo.Aggregate{
		Initial: func(string) echo.State {
			return echo.State{Last: wit.None[echo.Sample]()}
		},
		Decide: decideEcho,
		Evolve: func(state echo.State, events []echo.Event) echo.State {
			for _, event := range events {
				state.Count++
				state.Last = wit.Some(event.Kept().Value)
			}
			return state
		},
	})
}

func decideEcho(_ echo.Context, _ echo.State, command echo.Command) ([]echo.Event, *echo.Rejection) {
	if command.Tag() == echo.Command_Keep {
		values := command.Keep().Values
		events := make([]echo.Event, 0, len(values))
		for _, value := range values {
			events = append(events, kept(value))
		}
		return events, nil
	}
	refused := command.Refuse()
	switch number := int(refused.Number); {
	case number < len(reasons):
		return reject(reasons[number]())
	case number == 98:
		return reject(echo.MakeRejectionR98(echo.R98{Why: refused.Value.Text}))
	case number == 99:
		return reject(echo.MakeRejectionR99(echo.R99{Value: refused.Value}))
	default:
		return []echo.Event{kept(refused.Value)}, nil
	}
}

func kept(value echo.Sample) echo.Event {
	return echo.MakeEventKept(echo.Kept{Value: value})
}

func reject(rejection echo.Rejection) ([]echo.Event, *echo.Rejection) {
	return nil, &rejection
}

var reasons = []func() echo.Rejection{
	echo.MakeRejectionR0, echo.MakeRejectionR1, echo.MakeRejectionR2, echo.MakeRejectionR3,
	echo.MakeRejectionR4, echo.MakeRejectionR5, echo.MakeRejectionR6, echo.MakeRejectionR7,
	echo.MakeRejectionR8, echo.MakeRejectionR9, echo.MakeRejectionR10, echo.MakeRejectionR11,
	echo.MakeRejectionR12, echo.MakeRejectionR13, echo.MakeRejectionR14, echo.MakeRejectionR15,
	echo.MakeRejectionR16, echo.MakeRejectionR17, echo.MakeRejectionR18, echo.MakeRejectionR19,
	echo.MakeRejectionR20, echo.MakeRejectionR21, echo.MakeRejectionR22, echo.MakeRejectionR23,
	echo.MakeRejectionR24, echo.MakeRejectionR25, echo.MakeRejectionR26, echo.MakeRejectionR27,
	echo.MakeRejectionR28, echo.MakeRejectionR29, echo.MakeRejectionR30, echo.MakeRejectionR31,
	echo.MakeRejectionR32, echo.MakeRejectionR33, echo.MakeRejectionR34, echo.MakeRejectionR35,
	echo.MakeRejectionR36, echo.MakeRejectionR37, echo.MakeRejectionR38, echo.MakeRejectionR39,
	echo.MakeRejectionR40, echo.MakeRejectionR41, echo.MakeRejectionR42, echo.MakeRejectionR43,
	echo.MakeRejectionR44, echo.MakeRejectionR45, echo.MakeRejectionR46, echo.MakeRejectionR47,
	echo.MakeRejectionR48, echo.MakeRejectionR49, echo.MakeRejectionR50, echo.MakeRejectionR51,
	echo.MakeRejectionR52, echo.MakeRejectionR53, echo.MakeRejectionR54, echo.MakeRejectionR55,
	echo.MakeRejectionR56, echo.MakeRejectionR57, echo.MakeRejectionR58, echo.MakeRejectionR59,
	echo.MakeRejectionR60, echo.MakeRejectionR61, echo.MakeRejectionR62, echo.MakeRejectionR63,
	echo.MakeRejectionR64, echo.MakeRejectionR65, echo.MakeRejectionR66, echo.MakeRejectionR67,
	echo.MakeRejectionR68, echo.MakeRejectionR69, echo.MakeRejectionR70, echo.MakeRejectionR71,
	echo.MakeRejectionR72, echo.MakeRejectionR73, echo.MakeRejectionR74, echo.MakeRejectionR75,
	echo.MakeRejectionR76, echo.MakeRejectionR77, echo.MakeRejectionR78, echo.MakeRejectionR79,
	echo.MakeRejectionR80, echo.MakeRejectionR81, echo.MakeRejectionR82, echo.MakeRejectionR83,
	echo.MakeRejectionR84, echo.MakeRejectionR85, echo.MakeRejectionR86, echo.MakeRejectionR87,
	echo.MakeRejectionR88, echo.MakeRejectionR89, echo.MakeRejectionR90, echo.MakeRejectionR91,
	echo.MakeRejectionR92, echo.MakeRejectionR93, echo.MakeRejectionR94, echo.MakeRejectionR95,
	echo.MakeRejectionR96, echo.MakeRejectionR97,
}
