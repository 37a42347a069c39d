// Package harness is the gRPC interface between the MLS working group's interop runner and an implementation, which the runner calls a
// client. harness.proto describes it; the rest is generated.
package harness

//go:generate go run ./generate
