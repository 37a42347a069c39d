// Package passphrase has what a guess at a store's passphrase costs. It is a package of its own so that tests of other packages can make it
// cheap, by package storetest, and nothing else can.
package passphrase

// Cost is in the figures of Argon2id (RFC 9106).
type Cost struct {
	Time, Memory uint32 // passes, KiB
	Threads      uint8
}

// Least is what a new store takes and the least that is accepted of one: RFC 9106's second recommended option. Only package storetest changes
// it, before any store is opened.
var Least = Cost{Time: 3, Memory: 64 << 10, Threads: 4}
