package hub

import "context"

// Event is a receipt and its body: of a commit the commit, of a reopen the disputes, of a term the claim.
type Event struct{ Receipt, Commit []byte }

// Step is an event that the register takes, with what else is kept of it.
type Step struct {
	Event
	By        [32]byte // the ticket that the commit was submitted with; zero if it is no commit, or not known
	GroupInfo []byte   // sealed
}

// Change is one transition of a register.
type Change struct {
	Next      State
	Steps     []Step     // up to Next.Seq; what stood at their seqs and beyond goes
	Writer    string     // the instance that brought it
	Disputed  uint64     // seq of the commit whose epoch is open again
	Aside     []Branch   // that had no place in Next
	Back      Branch     // that was set aside, and is gone on from; zero if none is
	Elsewhere *Elsewhere // where the conversation is from now on, if a hub there says so
}

// Elsewhere is what says that a conversation has another hub: a move of ours, or the term of another.
type Elsewhere struct {
	Event
	Hub string // origin
}

// Granted is what is known of a receipt.
type Granted struct {
	Receipt  []byte
	By       [32]byte
	Reopened uint64 // seq of the reopen that a dispute of it led to; 0 if none did
}

// GroupInfo is what came with a commit, sealed.
type GroupInfo struct {
	Term, Seq, Epoch uint64 // Epoch is the one that the commit made
	Sealed           []byte
}

// MaxGroupInfos is how many of the newest are kept.
const MaxGroupInfos = 4

// Store keeps the registers; group id is the partition key. Each method is one durable transaction.
type Store interface {
	// OpenGroup writes state and open receipt unless the group exists, and returns the open receipt that is there now.
	OpenGroup(ctx context.Context, groupID []byte, s State, receipt []byte) (opened []byte, err error)
	Group(ctx context.Context, groupID []byte) (s State, ok bool, err error)
	// Swap makes the change, or returns ErrMoved if the state is not old any more. If old is zero there must be no register.
	Swap(ctx context.Context, groupID []byte, old State, c Change) error
	// Aside are the branches of an epoch that Changes have set aside and none has taken back, the newest first, at most limit. A change of term
	// forgets them all.
	Aside(ctx context.Context, groupID []byte, epoch uint64, limit int) ([]Branch, error)
	// Events with seq > after, ascending, at most limit.
	Events(ctx context.Context, groupID []byte, after uint64, limit int) ([]Event, error)
	// Find returns the receipt of an event whose body has this hash, or nil.
	Find(ctx context.Context, groupID []byte, messageHash [32]byte) (receipt []byte, err error)
	// Granted returns what is known of the receipt of a seq; 0 is the open one.
	Granted(ctx context.Context, groupID []byte, seq uint64) (g Granted, ok bool, err error)
	// Dispute keeps an instance's dispute of a seq and returns all there are of it, at most one for each instance, and how many
	// instances have written to the register or disputed anything in it.
	Dispute(ctx context.Context, groupID []byte, seq uint64, instance string, dispute []byte) (all [][]byte, instances int, err error)
	// Writers are the instances that have written to the register, newest first, at most limit.
	Writers(ctx context.Context, groupID []byte, limit int) ([]string, error)
	// Elsewhere returns what the newest Change had that had one.
	Elsewhere(ctx context.Context, groupID []byte) (Elsewhere, error)
	// GroupInfos are those of the newest MaxGroupInfos steps that had one, newest first.
	GroupInfos(ctx context.Context, groupID []byte) ([]GroupInfo, error)
}
