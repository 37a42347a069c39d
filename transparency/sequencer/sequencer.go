// Package sequencer is the serving half of an instance's log: it appends statements, keeps the map of what each label's newest
// is, signs checkpoints, and answers lookups with proofs. It knows neither HTTP nor SQL; the sidecar gives it a [Store] and
// puts routes in front.
//
// There are two heads. The signed one is as far as the log has grown; the witnessed one, at it or behind, is what a lookup is
// answered from, since only that is known to be the same for everybody. [Sequencer.Unwitnessed] gives the one,
// [Sequencer.Witnessed] moves the other.
package sequencer

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"iter"
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

// Row is what there is of one label from one entry on. An erase leaves the row of its label without opening and content.
type Row struct {
	Label   [32]byte
	Index   int64
	Opening [32]byte
	Content []byte
	Value   [32]byte // in the map
}

// Batch is what becomes durable together: entries from index Size on, the tree hashes that belong to them, the labels that they
// change, and the checkpoint over all of it. Rows are in the order of the entries, at most one for each; of several rows of one label
// the last counts.
type Batch struct {
	Size       int64
	Entries    [][]byte
	Hashes     []tlog.Hash // to be kept from tlog.StoredHashIndex(0, Size) on
	Rows       []Row
	Checkpoint []byte // signed, of Size + len(Entries)
	Served     bool   // it needs no witness: as if Witness were called in the same transaction
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
	// Forget deletes the rows that only trees smaller than size show.
	Forget(ctx context.Context, size int64) error
	// Newest row of a label with an index below size.
	Newest(ctx context.Context, label [32]byte, size int64) (r Row, ok bool, err error)
	// Values of the map of a tree of that size, in the order of their labels.
	Values(ctx context.Context, size int64) iter.Seq2[Row, error]
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
	// stale says that a label was written to that had a row before: served from here, that row is to be forgotten.
	stale bool
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
	secret, err := signerKey(origin, key)
	if err != nil {
		return err
	}
	if s.signer, err = note.NewSigner(secret); err != nil {
		return err
	}
	s.public = key.Public().(ed25519.PublicKey)
	public, err := note.NewEd25519VerifierKey(origin, s.public)
	if err != nil {
		return err
	}
	s.verifier, err = note.NewVerifier(public)
	return err
}

// Origin of the log.
func (s *Sequencer) Origin() string { return s.signer.Name() }

// VRFKey is the public key of its labels.
func (s *Sequencer) VRFKey() []byte { b := s.vrf.Public().Bytes(); return b[:] }

func (s *Sequencer) load(ctx context.Context) error {
	at, err := s.store.Head(ctx)
	if err != nil || at.Size == 0 {
		return err
	}
	if at.WitnessedSize > at.Size {
		return fmt.Errorf("%d entries were witnessed and %d are there", at.WitnessedSize, at.Size)
	}
	h, err := s.loadHead(ctx, at.Size, at.Checkpoint)
	if err != nil {
		return err
	}
	h.stale = at.WitnessedSize < at.Size // for all that is known here
	s.mu.Lock()
	s.head = h
	s.mu.Unlock()
	if at.WitnessedSize == 0 {
		return nil
	}
	v := h
	v.note = at.Witnessed
	if at.WitnessedSize == at.Size {
		err = s.matches(v)
	} else {
		v, err = s.loadHead(ctx, at.WitnessedSize, at.Witnessed)
	}
	if err != nil {
		return err
	}
	v.stale = true
	return s.serve(ctx, v, v.note)
}

// loadHead builds what there was at a size, and compares it with what was signed: a store that was damaged must not be appended to.
func (s *Sequencer) loadHead(ctx context.Context, size int64, signed []byte) (h head, err error) {
	h = head{size: size, note: signed}
	if h.before, err = transparency.LoadCompactRange(size-1, s.reader(ctx)); err != nil {
		return h, err
	}
	if h.edge, err = transparency.LoadCompactRange(size, s.reader(ctx)); err != nil {
		return h, err
	}
	if h.newest, err = s.entry(ctx, size-1); err != nil {
		return h, err
	}
	if h.tree, err = s.loadTree(ctx, size); err != nil {
		return h, err
	}
	return h, s.matches(h)
}

func (s *Sequencer) loadTree(ctx context.Context, size int64) (prefixtree.Tree, error) {
	var leaves []prefixtree.Leaf
	for r, err := range s.store.Values(ctx, size) {
		if err != nil {
			return prefixtree.Tree{}, err
		}
		leaves = append(leaves, prefixtree.Leaf{Label: r.Label, Value: r.Value})
	}
	return prefixtree.Build(leaves)
}

func (s *Sequencer) matches(h head) error {
	c, err := transparency.OpenCheckpoint(h.note, s.verifier)
	if err != nil {
		return err
	}
	again, _ := h.before.With(transparency.LeafHash(h.newest))
	if c.Size != h.size || c.Root != h.edge.Root() || c.Root != again.Root() {
		return fmt.Errorf("the tree of %d entries is not the one whose checkpoint was signed", h.size)
	}
	if e, err := transparency.ParseEntry(h.newest); err != nil || e.MapRoot != h.tree.Root() {
		return errors.Join(fmt.Errorf("the map is not the one that entry %d has the root of", h.size-1), err)
	}
	return nil
}

func (s *Sequencer) entry(ctx context.Context, index int64) ([]byte, error) {
	entries, err := s.store.Entries(ctx, index, 1)
	if err != nil {
		return nil, err
	}
	return entries[0], nil
}

// serving gathers what all lookups in one tree share.
func (h head) serving(checkpoint []byte) served {
	return served{size: h.size, tree: h.tree, note: checkpoint, newest: h.newest, inclusion: h.before.Path()}
}

type reader struct {
	ctx   context.Context
	store Store
}

func (r reader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	return r.store.Hashes(r.ctx, indexes)
}

func (s *Sequencer) reader(ctx context.Context) tlog.HashReader { return reader{ctx, s.store} }
