// Package storetest is for tests that open many stores. No program imports it.
package storetest

import "github.com/waxwing-dm/waxwing/agent/store/internal/passphrase"

// Cheapen makes a guess at a passphrase cost next to nothing in this process, for stores of other tests and of real ones alike. Call it before
// the first is opened.
func Cheapen() { passphrase.Least = passphrase.Cost{Time: 1, Memory: 64, Threads: 1} }
