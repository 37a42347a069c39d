package transparency

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency/prefixtree"
)

// Replay is what an auditor does: it takes a log's entries one after the other, holds L1 to L7 as far as they concern nobody's
// name, and computes the map that each entry should have the root of. What it accepted up to a size is what its cosignature says.
// The zero value is the empty log.
type Replay struct {
	tree   prefixtree.Tree
	leaves CompactRange
	newest map[[32]byte]Statement
}

// An EntryError says which entry of a log is wrong. The log is not to be believed from there on.
type EntryError struct {
	Index int64
	Err   error
}

func (e *EntryError) Error() string {
	return fmt.Sprintf("transparency: entry %d of the log: %v", e.Index, e.Err)
}
func (e *EntryError) Unwrap() error { return e.Err }

// Add takes the next entry. On an error the replay is as it was.
func (r *Replay) Add(entry []byte) error { return r.add(entry, true) }

// AddChecked takes the next entry of those that Add has accepted once, and saves itself the signature.
func (r *Replay) AddChecked(entry []byte) error { return r.add(entry, false) }

func (r *Replay) add(entry []byte, signature bool) error {
	fail := func(err error) error { return &EntryError{r.Size(), err} }
	e, err := ParseEntry(entry)
	if err != nil {
		return fail(err)
	}
	var previous *Statement
	if p, ok := r.newest[e.Label]; ok && e.Kind != KindPad {
		previous = &p
	}
	if err := e.Follows(previous); err != nil {
		return fail(err)
	}
	if signature {
		if err := e.VerifySignature(previous); err != nil {
			return fail(err)
		}
	}
	tree := r.tree
	if e.Kind != KindPad {
		tree = tree.Put(e.Label, e.MapValue())
	}
	if tree.Root() != e.MapRoot {
		return fail(Failed("L8", "the root of the map is another one"))
	}
	r.leaves, _ = r.leaves.With(LeafHash(entry))
	if r.tree = tree; e.Kind != KindPad {
		if r.newest == nil {
			r.newest = map[[32]byte]Statement{}
		}
		r.newest[e.Label] = e.Statement
	}
	return nil
}

// Size is the number of entries that were accepted.
func (r *Replay) Size() int64 { return r.leaves.Size() }

// Root of the log of the entries that were accepted.
func (r *Replay) Root() tlog.Hash { return r.leaves.Root() }
