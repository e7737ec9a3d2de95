//go:build wasm

package main

import (
	export "example.com/{{name}}/bindings/exports/export_{{snake}}_model_counter"
	_ "example.com/{{name}}/bindings/exports/wit_exports"
)

// What the host calls.
func init() {
	export.Export(export.Aggregate{Initial: initial, Decide: decide, Evolve: evolve})
}
