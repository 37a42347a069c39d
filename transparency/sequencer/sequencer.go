// Package sequencer is the serving half of an instance's log: it appends entries one at a time, signs checkpoints, and
// answers lookups with proofs. It knows neither HTTP nor SQL; the sidecar gives it a [Store] and puts routes in front.
package sequencer

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
)

var (
	ErrUnknown       = errors.New("no such label")
	ErrBeyondHead    = errors.New("beyond the head of the log")
	ErrKeyNotCurrent = errors.New("not signed by the account key that was promised")
	ErrNotFound      = errors.New("no such tile")
)

// A ConflictError says that an entry is not the next one of its label; Answer is the current state to compare with.
type ConflictError struct{ Answer transparency.Answer }

func (e *ConflictError) Error() string {
	return "sequencer: the entry is not the next one of its label"
}

// Record is one appended entry with everything that becomes durable together with it.
type Record struct {
	Index      int64
	Entry      []byte
	Label      [32]byte
	Opening    [32]byte
	List       []byte
	Hashes     []tlog.Hash // tlog.StoredHashes of this index, to be kept from tlog.StoredHashIndex(0, Index) on
	Checkpoint []byte      // signed, of size Index+1
}

// Store keeps the log. Append is one durable transaction: after it returns nil, a crash loses nothing of the record, and
// after it returns an error nothing of it is there. It fails if the log does not have exactly Index entries. There is one
// writer; readers may call at the same time.
type Store interface {
	Head(ctx context.Context) (size int64, checkpoint []byte, err error)
	Append(ctx context.Context, r Record) error
	// Newest record of a label; Hashes and Checkpoint need not be filled in.
	Newest(ctx context.Context, label [32]byte) (r Record, ok bool, err error)
	Hashes(ctx context.Context, indexes []int64) ([]tlog.Hash, error)
	Entries(ctx context.Context, from, count int64) ([][]byte, error)
}

// maxSkew is L4's ten minutes.
const maxSkew = 10 * time.Minute

// Sequencer is safe for concurrent use.
type Sequencer struct {
	store  Store
	signer note.Signer
	now    func() time.Time
	mu     sync.Mutex // held from reading the head until the next one is durable
}

// New makes a sequencer; the signer's name is the log's origin.
func New(store Store, signer note.Signer, now func() time.Time) *Sequencer {
	return &Sequencer{store: store, signer: signer, now: now}
}

// Origin of the log.
func (s *Sequencer) Origin() string { return s.signer.Name() }

type reader struct {
	ctx   context.Context
	store Store
}

func (r reader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	return r.store.Hashes(r.ctx, indexes)
}

// Append checks an entry (L1 to L5), appends it and answers with its proof. Typed errors: *transparency.CheckError,
// *ConflictError, ErrKeyNotCurrent. The very entry that is the newest already is answered again.
func (s *Sequencer) Append(ctx context.Context, entry []byte, opening [32]byte, list []byte) (transparency.Answer, error) {
	e, l, err := decode(entry, opening, list)
	if err != nil {
		return transparency.Answer{}, fmt.Errorf("sequencer: appending an entry: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	newest, known, err := s.store.Newest(ctx, e.Label)
	if err != nil {
		return transparency.Answer{}, fmt.Errorf("sequencer: reading the newest entry of %s: %w", l.Actor, err)
	}
	if known && string(newest.Entry) == string(entry) {
		return s.Answer(ctx, l.Actor, 0)
	}
	if err := s.checkTime(e); err != nil {
		return transparency.Answer{}, err
	}
	if err := s.checkNext(ctx, e, l.Actor, newest, known); err != nil {
		return transparency.Answer{}, err
	}
	if err := s.append(ctx, Record{Entry: entry, Label: e.Label, Opening: opening, List: list}); err != nil {
		return transparency.Answer{}, fmt.Errorf("sequencer: appending an entry of %s: %w", l.Actor, err)
	}
	return s.Answer(ctx, l.Actor, 0)
}

// decode holds L5.
func decode(entry []byte, opening [32]byte, list []byte) (transparency.Entry, keydir.DeviceList, error) {
	e, err := transparency.ParseEntry(entry)
	if err != nil {
		return e, keydir.DeviceList{}, transparency.Failed("L5", "%v", err)
	}
	l, err := keydir.ParseDeviceList(list)
	if err != nil {
		return e, l, transparency.Failed("L5", "%v", err)
	}
	if err := e.VerifySignature(); err != nil {
		return e, l, err
	}
	if err := e.Opens(opening, list); err != nil {
		return e, l, err
	}
	if l.Seq != e.Seq || transparency.Label(l.Actor) != e.Label {
		return e, l, transparency.Failed("L5", "the list is of another actor or seq")
	}
	return e, l, nil
}

// checkTime is the half of L4 that concerns the clock. It is for an entry that is about to be appended: one that is there already
// may be sent again later than that, by a device that never got its answer.
func (s *Sequencer) checkTime(e transparency.Entry) error {
	if d := s.now().Sub(time.UnixMilli(int64(e.Time))); d > maxSkew || d < -maxSkew {
		return fmt.Errorf("sequencer: appending an entry: %w", transparency.Failed("L4", "time is %v from the log's clock", d.Round(time.Second)))
	}
	return nil
}

func (s *Sequencer) checkNext(ctx context.Context, e transparency.Entry, actor string, newest Record, known bool) error {
	if !known {
		return e.Follows(nil)
	}
	previous, err := transparency.ParseEntry(newest.Entry)
	if err != nil {
		return fmt.Errorf("sequencer: reading the newest entry of %s: %w", actor, err)
	}
	if e.Kind == transparency.KindFirst || e.Seq != previous.Seq+1 {
		answer, err := s.Answer(ctx, actor, 0)
		if err != nil {
			return err
		}
		return &ConflictError{answer}
	}
	if e.Kind == transparency.KindUpdate && transparency.AccountKeyHash(e.AuthKey) != previous.AuthNext {
		return fmt.Errorf("sequencer: appending an entry of %s: %w", actor, ErrKeyNotCurrent)
	}
	return e.Follows(&previous)
}

func (s *Sequencer) append(ctx context.Context, r Record) error {
	size, _, err := s.store.Head(ctx)
	if err != nil {
		return err
	}
	hashes := reader{ctx, s.store}
	r.Index = size
	if r.Hashes, err = tlog.StoredHashes(size, r.Entry, hashes); err != nil {
		return err
	}
	root, err := tlog.TreeHash(size+1, overlay{hashes, tlog.StoredHashIndex(0, size), r.Hashes})
	if err != nil {
		return err
	}
	r.Checkpoint, err = transparency.SignCheckpoint(transparency.Checkpoint{Origin: s.Origin(), Size: size + 1, Root: root}, s.signer)
	if err != nil {
		return err
	}
	return s.store.Append(ctx, r)
}

// overlay reads hashes that are not stored yet from memory.
type overlay struct {
	stored tlog.HashReader
	first  int64
	fresh  []tlog.Hash
}

func (o overlay) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	var ask []int64
	var at []int
	for i, x := range indexes {
		if x >= o.first {
			if x-o.first >= int64(len(o.fresh)) {
				return nil, fmt.Errorf("hash %d is not known", x)
			}
			out[i] = o.fresh[x-o.first]
			continue
		}
		ask, at = append(ask, x), append(at, i)
	}
	if len(ask) == 0 {
		return out, nil
	}
	got, err := o.stored.ReadHashes(ask)
	if err != nil {
		return nil, err
	}
	for i, h := range got {
		out[at[i]] = h
	}
	return out, nil
}

// Answer looks an actor up; the answer's consistency proof is from a tree of that size. ErrUnknown, ErrBeyondHead.
func (s *Sequencer) Answer(ctx context.Context, actor string, from int64) (transparency.Answer, error) {
	fail := func(err error) (transparency.Answer, error) {
		return transparency.Answer{}, fmt.Errorf("sequencer: looking up %s: %w", actor, err)
	}
	r, ok, err := s.store.Newest(ctx, transparency.Label(actor))
	if err != nil {
		return fail(err)
	}
	if !ok {
		return fail(ErrUnknown)
	}
	size, checkpoint, err := s.store.Head(ctx)
	if err != nil {
		return fail(err)
	}
	if from < 0 || from > size {
		return fail(ErrBeyondHead)
	}
	a := transparency.Answer{Checkpoint: checkpoint, Index: r.Index, Entry: r.Entry, Opening: r.Opening, Devices: r.List}
	hashes := reader{ctx, s.store}
	if a.Inclusion, err = tlog.ProveRecord(size, r.Index, hashes); err != nil {
		return fail(err)
	}
	if from > 0 && from < size {
		if a.Consistency, err = tlog.ProveTree(size, from, hashes); err != nil {
			return fail(err)
		}
	}
	return a, nil
}

// List returns the newest device list of an actor.
func (s *Sequencer) List(ctx context.Context, actor string) (keydir.DeviceList, error) {
	r, ok, err := s.store.Newest(ctx, transparency.Label(actor))
	if err != nil {
		return keydir.DeviceList{}, fmt.Errorf("sequencer: looking up %s: %w", actor, err)
	}
	if !ok {
		return keydir.DeviceList{}, fmt.Errorf("sequencer: looking up %s: %w", actor, ErrUnknown)
	}
	return keydir.ParseDeviceList(r.List)
}

// Checkpoint returns the newest signed checkpoint; of an empty log, the one of size 0, which is always the same.
func (s *Sequencer) Checkpoint(ctx context.Context) ([]byte, error) {
	size, checkpoint, err := s.store.Head(ctx)
	if err != nil || size > 0 {
		return checkpoint, err
	}
	root, err := tlog.TreeHash(0, nil)
	if err != nil {
		return nil, err
	}
	return transparency.SignCheckpoint(transparency.Checkpoint{Origin: s.Origin(), Root: root}, s.signer)
}

// NewSigner makes the note signer of a log from its Ed25519 key.
func NewSigner(origin string, key ed25519.PrivateKey) (note.Signer, error) {
	skey, err := signerKey(origin, key)
	if err != nil {
		return nil, err
	}
	return note.NewSigner(skey)
}
