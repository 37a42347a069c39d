package store

import "testing"

var realCost = cost

// Tests open many stores: for them a guess is cheap.
func init() { cost = params{time: 1, memory: 64, threads: 1} }

// UseRealCost makes passphrases cost what they do outside tests.
func UseRealCost(t *testing.T) {
	quick := cost
	cost = realCost
	t.Cleanup(func() { cost = quick })
}
