//go:build wasm

package main

import (
	export "bank.example/account/bindings/exports/export_bank_model_account"
	_ "bank.example/account/bindings/exports/wit_exports"
)

// What the host calls.
func init() {
	export.Export(export.Aggregate{Initial: initial, Decide: decide, Evolve: evolve})
}
