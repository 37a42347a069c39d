// Package sequencer is the serving half of an instance's log: it appends statements, keeps the map of what each label's newest
// is, signs checkpoints, and answers lookups with proofs. It knows neither HTTP nor SQL; the sidecar gives it a [Store] and
// puts routes in front.
//
// There are two heads. The signed one is as far as the log has grown; the witnessed one, at it or behind, is what a lookup is
// answered from, since only that is known to be the same for everybody. [Sequencer.Unwitnessed] gives the one,
// [Sequencer.Witnessed] moves the other.
//
// The map of each head is in memory, and says of each label where its newest entry is. So a store needs no index of labels, which
// every insert would write to at another place: it is read by number, and whole when the log is opened.
package sequencer

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/prefixtree"
	"github.com/waxwing-dm/waxwing/transparency/vrf"
)

var (
	ErrBeyondHead    = errors.New("beyond the head of the log")
	ErrErased        = errors.New("erased")
	ErrKeyNotCurrent = errors.New("not signed by the account key that was promised")
	ErrNotFound      = errors.New("the log has nothing there")
	// ErrNotNext says that a statement is not the next one of its label; a lookup tells what is there.
	ErrNotNext = errors.New("the statement is not the next one of its label")
	// ErrNotYet says that nothing of the log has been witnessed.
	ErrNotYet = errors.New("the log is not witnessed yet")

	errNoRow = errors.New("the map has a label that the store has not")
)

// Row is what an entry's commitment opens to. An erase has a row with nothing in it; padding has none.
type Row struct {
	Index   int64
	Opening [32]byte
	Content []byte
}

// Batch is what becomes durable together: entries from index Size on, the tree hashes that belong to them, what they open to, and
// the checkpoint over all of it. Rows are in the order of the entries, at most one for each.
type Batch struct {
	Size       int64
	Entries    [][]byte
	Hashes     []tlog.Hash // to be kept from tlog.StoredHashIndex(0, Size) on
	Rows       []Row
	Forget     []int64 // as if Forget were called in the same transaction
	Checkpoint []byte  // signed, of Size + len(Entries)
	Served     bool    // it needs no witness: as if Witness were called in the same transaction
}

// Store keeps the log. Append is one durable transaction: after it returns nil, a crash loses nothing of the batch, and after it
// returns an error nothing of it is there. It fails if the log does not have exactly Size entries. There is one writer;
// readers may call at the same time.
type Store interface {
	// Head of the log, and of what was witnessed: sizes and the notes of those sizes. An empty log has size 0 and no notes.
	Head(ctx context.Context) (Heads, error)
	Append(ctx context.Context, b Batch) error
	// Witness makes a cosigned checkpoint the one that is served.
	Witness(ctx context.Context, size int64, checkpoint []byte) error
	// Forget deletes rows, whether they are there or not. Their entries stay.
	Forget(ctx context.Context, indexes []int64) error
	// Row of an entry, with the entry; not ok if it was forgotten or never was.
	Row(ctx context.Context, index int64) (entry []byte, r Row, ok bool, err error)
	// Rows calls f for each entry that has a row, in their order. An entry is f's until it returns.
	Rows(ctx context.Context, f func(index int64, entry []byte) error) error
	Hashes(ctx context.Context, indexes []int64) ([]tlog.Hash, error)
	Entries(ctx context.Context, from, count int64) ([][]byte, error)
}

// Heads are the two ends of a log.
type Heads struct {
	Size          int64
	Checkpoint    []byte
	WitnessedSize int64
	Witnessed     []byte
}

// maxSkew is L7's ten minutes.
const maxSkew = 10 * time.Minute

// Config of a sequencer.
type Config struct {
	Store Store
	Host  string // of the instance, with its port if it has one
	Key   ed25519.PrivateKey
	VRF   *vrf.PrivateKey
	Now   func() time.Time
	// Alone says that nobody is asked to witness the log: what is signed is served at once.
	Alone bool
	// Before, if set, is called with each checkpoint of a log that is Alone before it is served. If it fails nothing more is
	// written until the log is opened again.
	Before func(checkpoint []byte) error
	// Held says that nothing is written before Release is called; what was witnessed is served.
	Held bool
}

// Sequencer is safe for concurrent use.
type Sequencer struct {
	store    Store
	signer   note.Signer
	verifier note.Verifier
	public   ed25519.PublicKey
	vrf      *vrf.PrivateKey
	now      func() time.Time
	alone    bool
	before   func(checkpoint []byte) error
	labels   labelCache

	queueMu sync.Mutex
	queue   []*request
	writing bool

	mu      sync.RWMutex // guards what follows; never held while the disk works
	head    head
	offered head // what Unwitnessed gave out last: its tree is wanted when it comes back
	served  served
	changed chan struct{} // closed when the head or what is served changes
	broken  error         // why nothing is written: held, stopped, or after a write that may or may not have happened
}

// head is the end of the log that the next entry goes to. The writer alone replaces it.
type head struct {
	size   int64
	edge   transparency.CompactRange
	before transparency.CompactRange // without the newest entry
	newest []byte                    // entry
	tree   prefixtree.Tree
	note   []byte
	// superseded are the rows that are to be forgotten once nobody is shown them, in the order in which they were superseded.
	superseded []superseded
}

// superseded is a row whose label has a newer entry.
type superseded struct {
	index, by int64
	soon      bool // it was erased, or nobody knows: that does not wait for another entry
}

// shownNoMore are those of the superseded that a tree of that size does not have.
func (h head) shownNoMore(size int64) []superseded {
	n, _ := slices.BinarySearchFunc(h.superseded, size, func(s superseded, size int64) int { return cmp.Compare(s.by, size) })
	return h.superseded[:n]
}

func indexes(all []superseded) (out []int64) {
	for _, s := range all {
		out = append(out, s.index)
	}
	return out
}

// served is the end of the log that lookups are answered from.
type served struct {
	size      int64
	tree      prefixtree.Tree
	note      []byte
	newest    []byte // entry
	inclusion []tlog.Hash
}

// New opens a log. An empty one gets its first entry, which is padding: a lookup needs one to find the map in. If it is held, it gets
// that at its release.
func New(ctx context.Context, c Config) (*Sequencer, error) {
	s := &Sequencer{store: c.Store, vrf: c.VRF, now: c.Now, alone: c.Alone, before: c.Before, broken: ErrHeld, changed: make(chan struct{})}
	origin := transparency.Origin(c.Host, s.VRFKey())
	if err := s.setKey(origin, c.Key); err != nil {
		return nil, fmt.Errorf("sequencer: opening the log %s: %w", origin, err)
	}
	if err := s.load(ctx); err != nil {
		return nil, fmt.Errorf("sequencer: opening the log %s: %w", origin, err)
	}
	if c.Held {
		return s, nil
	}
	if err := s.Release(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Sequencer) setKey(origin string, key ed25519.PrivateKey) error {
	own, err := newSigner(origin, key)
	s.signer, s.verifier, s.public = own, own.Verifier, key.Public().(ed25519.PublicKey)
	return err
}

// Origin of the log.
func (s *Sequencer) Origin() string { return s.signer.Name() }

// VRFKey is the public key of its labels.
func (s *Sequencer) VRFKey() []byte { b := s.vrf.Public().Bytes(); return b[:] }
