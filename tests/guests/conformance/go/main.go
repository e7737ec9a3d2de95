// What every language's component is held to; see ../src/lib.rs.
package main

import _ "conformance.example/guest/bindings/exports/wit_exports"

func main() {}
