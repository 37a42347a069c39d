package mls

// Every bound on what others can make us keep or compute.
const (
	maxMembers        = 1 << 16 // leaves of a tree
	maxForward        = 1000    // generations a sender's ratchet is moved for one message (RFC 9420 section 15.3)
	maxSkipped        = 256     // unused keys kept for one sender and kind
	maxPastEpochs     = 2       // epochs whose application messages can still be read
	maxResumptions    = 8       // past epochs whose resumption secret is kept
	maxPSKs           = 64      // pre-shared keys of one commit
	maxPendingRefs    = 256     // proposals by reference kept in one epoch
	maxExport         = 255 * 32
	maxLifetimeMargin = 3600 // seconds a clock may be off when a lifetime is checked
)
