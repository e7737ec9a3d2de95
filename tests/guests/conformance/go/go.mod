module conformance.example/guest

go 1.27
