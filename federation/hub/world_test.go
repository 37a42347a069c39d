package hub_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/federation/hub/storetest"
	"github.com/waxwing-dm/waxwing/internal/receipt"
)

var (
	ctx   = context.Background()
	group = []byte("group")
	start = time.UnixMilli(1_700_000_000_000)
)

// message is what stands for an MLSMessage here: what it is, the group id with its length, the epoch, the rest.
func message(kind byte, group []byte, epoch uint64, rest string) []byte {
	b := append([]byte{kind, byte(len(group))}, group...)
	return append(binary.BigEndian.AppendUint64(b, epoch), rest...)
}

func commit(epoch uint64, rest string) []byte { return message('c', group, epoch, rest) }

func headers(m []byte) (groupID []byte, epoch uint64, isCommit bool, err error) {
	if len(m) < 2 || len(m) < 10+int(m[1]) {
		return nil, 0, false, errors.New("too short")
	}
	n := 2 + int(m[1])
	return m[2:n], binary.BigEndian.Uint64(m[n:]), m[0] == 'c', nil
}

// ticket key of an epoch, as all its members know it.
func ticket(epoch uint64) ed25519.PrivateKey {
	return receipt.TicketKey(binary.BigEndian.AppendUint64(make([]byte, 24), epoch))
}

func public(key ed25519.PrivateKey) [32]byte { return [32]byte(key.Public().(ed25519.PublicKey)) }

// submission of a commit by a member of its epoch.
func submission(epoch uint64, rest string) hub.Submission {
	return sign(hub.Submission{Term: 1, Epoch: epoch, Commit: commit(epoch, rest), Ticket: public(ticket(epoch + 1))})
}

func sign(s hub.Submission) hub.Submission {
	s.Signature = receipt.SignSubmit(ticket(s.Epoch), group, s.Term, s.Epoch, s.Commit, s.Ticket)
	return s
}

// A bench is a hub on a store that a test looks into.
type bench struct {
	*hub.Hub
	t     testing.TB
	store *watched
	chain receipt.Chain
	clock time.Duration // since start
	peers hub.Ask
}

var hubKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, 32))

// newBench opens the group.
func newBench(t testing.TB) *bench {
	b := &bench{t: t, store: &watched{Store: new(storetest.Memory)}}
	b.restart()
	opened, err := b.Open(ctx, group, public(ticket(0)))
	require.NoError(t, err)
	b.chain, _, err = receipt.Start(opened, group, [32]byte(b.Key()))
	require.NoError(t, err)
	return b
}

// restart is another process on the same store.
func (b *bench) restart() {
	b.Hub = hub.New(b.store, hubKey, headers, func() time.Time { return start.Add(b.clock) }, b.peers)
}

func (b *bench) submit(s hub.Submission) []byte {
	b.t.Helper()
	r, err := b.Submit(ctx, group, s)
	require.NoError(b.t, err)
	return r
}

// grant takes the group to an epoch.
func (b *bench) grant(epochs uint64) {
	b.t.Helper()
	for epoch := range epochs {
		b.submit(submission(epoch, "commit"))
	}
}

// all events, asked for as a member does.
func (b *bench) all() (events []hub.Event) {
	b.t.Helper()
	for {
		more, _, err := b.Events(ctx, group, uint64(len(events)))
		require.NoError(b.t, err)
		if len(more) == 0 {
			return events
		}
		events = append(events, more...)
	}
}

func (b *bench) state() hub.State {
	b.t.Helper()
	s, ok, err := b.store.Group(ctx, group)
	require.NoError(b.t, err)
	require.True(b.t, ok)
	return s
}

var errDisk = errors.New("the disk is full")

// watched counts what a store is asked for, and fails when told to.
type watched struct {
	hub.Store
	mu      sync.Mutex
	swaps   int
	largest int  // number of events that were read at once
	fail    bool // before anything is written
	lost    bool // after everything is written
}

func (w *watched) Swap(ctx context.Context, id []byte, old hub.State, c hub.Change) error {
	w.mu.Lock()
	fail, lost := w.fail, w.lost
	w.mu.Unlock()
	if fail {
		return errDisk
	}
	err := w.Store.Swap(ctx, id, old, c)
	if err == nil {
		w.mu.Lock()
		w.swaps++
		w.mu.Unlock()
		if lost {
			return errDisk
		}
	}
	return err
}

func (w *watched) Events(ctx context.Context, id []byte, after uint64, limit int) ([]hub.Event, error) {
	if after > math.MaxInt64 {
		return nil, errors.New("no column of a database holds this seq")
	}
	events, err := w.Store.Events(ctx, id, after, limit)
	w.mu.Lock()
	w.largest = max(w.largest, limit)
	w.mu.Unlock()
	return events, err
}
