package mls

import "fmt"

// Every bound on what others can make us read, keep or compute.

// Bytes. Those of a whole input are looked at before anything of it is decoded.
const (
	maxMessage    = 16 << 20  // an MLSMessage, read or made
	maxKeyPackage = 64 << 10  // a KeyPackage, by itself or in a proposal
	maxLeaf       = 32 << 10  // a LeafNode; one with keys and signatures of lattice suites has some 10 KiB
	maxLeaves     = 16 << 20  // all LeafNodes of a tree: more would not fit a Welcome, and nobody could be added any more
	maxState      = 256 << 20 // all records of a group: its tree, what the last commits and a pending one replace of it, ratchets
	maxSecret     = maxKeyPackage + 1<<10
	maxAppData    = 1 << 20 // what the components keep in a group
)

// Items of a list. The smallest item takes a byte or two on the wire and some ten times that in memory.
const (
	maxRecords      = 1 << 20 // of a group: a node and up to three epochs' ratchets for everybody, and proposals
	maxMembers      = 1 << 16 // leaves of a tree, places in a Welcome, path secrets of a commit
	maxNodes        = 2*maxMembers - 1
	maxDepth        = 16      // nodes of a direct path: log2 of maxMembers
	maxProposals    = 1 << 16 // of a commit
	maxExtensions   = 64      // of one list
	maxCapabilities = 256     // of one kind
	maxCertificates = 32      // of a chain
	maxPSKs         = 64      // pre-shared keys of one commit
	maxSenders      = 64      // external senders of a group
	maxComponents   = 1024    // of an AppData
)

// Work, and what is kept for later.
const (
	maxForward        = 1000 // generations a sender's ratchet is moved for one message (RFC 9420 section 15.3)
	maxSkipped        = 256  // unused keys kept for one sender and kind
	maxPastEpochs     = 2    // epochs whose application messages can still be read
	maxResumptions    = 8    // past epochs whose resumption secret is kept
	maxPendingRefs    = 256  // proposals by reference kept in one epoch
	maxRefsOfOne      = 32   // and of one sender
	maxExport         = 255 * 32
	maxLifetimeMargin = 3600 // seconds a clock may be off when a lifetime is checked
)

// marshalMessage encodes a message of ours, unless it is one that nobody would read.
func marshalMessage(m *Message) ([]byte, error) {
	raw := marshal(m)
	if len(raw) > maxMessage {
		return nil, errTooLarge(len(raw))
	}
	return raw, nil
}

func errTooLarge(n int) error {
	return fmt.Errorf("mls: making a message of %d bytes: at most %d are read", n, maxMessage)
}

// unmarshalUpTo is unmarshal for what must not be longer than limit.
func unmarshalUpTo(limit int, data []byte, v structure, what string) error {
	if len(data) > limit {
		return fmt.Errorf("mls: reading %s of %d bytes: at most %d are read", what, len(data), limit)
	}
	return unmarshal(data, v, what)
}
