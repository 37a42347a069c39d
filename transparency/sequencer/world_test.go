package sequencer_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
	"github.com/waxwing-dm/waxwing/transparency/sequencer/storetest"
)

const (
	origin = "a.example/waxwing/log"
	alice  = "https://a.example/users/alice"
	bob    = "https://a.example/users/bob"
)

var (
	ctx     = context.Background()
	logSeed = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{200}, 32))
	start   = time.UnixMilli(1_700_000_000_000)
)

func account(n byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, 32)) }

// A bench is a sequencer on a store and a clock that a test turns.
type bench struct {
	*sequencer.Sequencer
	t     testing.TB
	store *recorder
	now   time.Time
}

func newBench(t testing.TB) *bench {
	b := &bench{t: t, store: &recorder{Store: new(storetest.Memory)}, now: start}
	b.restart()
	return b
}

// restart is another process on the same store.
func (b *bench) restart() {
	signer, err := sequencer.NewSigner(origin, logSeed)
	require.NoError(b.t, err)
	b.Sequencer = sequencer.New(b.store, signer, func() time.Time { return b.now })
}

// pinned is what a reader starts with.
func pinned(t testing.TB) transparency.Log {
	key, err := sequencer.VerifierKey(origin, logSeed.Public().(ed25519.PublicKey))
	require.NoError(t, err)
	return transparency.Log{Origin: origin, Key: key}
}

var errDisk = errors.New("the disk is full")

// recorder remembers every checkpoint that was made durable, and fails when told to.
type recorder struct {
	sequencer.Store
	mu          sync.Mutex
	checkpoints map[int64][]string
	fail        bool // before anything is written
	lost        bool // after everything is written: the record is there and nobody hears of it
}

func (r *recorder) Append(ctx context.Context, rec sequencer.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail {
		return errDisk
	}
	if err := r.Store.Append(ctx, rec); err != nil {
		return err
	}
	if r.checkpoints == nil {
		r.checkpoints = map[int64][]string{}
	}
	r.checkpoints[rec.Index+1] = append(r.checkpoints[rec.Index+1], string(rec.Checkpoint))
	if r.lost {
		return errDisk
	}
	return nil
}

// A publication is what a device sends to be appended.
type publication struct {
	entry   []byte
	opening [32]byte
	list    []byte
}

type change func(*transparency.Entry, *keydir.DeviceList)

// publish makes a publication; changes are made before the commitment and the signature.
func publish(actor string, kind transparency.Kind, seq, lastReset uint32, key ed25519.PrivateKey, changes ...change) publication {
	list := keydir.DeviceList{Actor: actor, Seq: seq, Devices: []keydir.Device{{SignatureKey: [32]byte{byte(seq), 1}, Added: 5}}}
	e := transparency.Entry{
		Kind: kind, Time: uint64(start.UnixMilli()), Label: transparency.Label(actor), Seq: seq, LastReset: lastReset,
		AuthNext: transparency.AccountKeyHash([32]byte(key.Public().(ed25519.PublicKey))),
	}
	for _, c := range changes {
		c(&e, &list)
	}
	p := publication{opening: [32]byte{byte(seq), byte(kind)}, list: list.Marshal()}
	e.Commitment = transparency.Commit(p.opening, p.list)
	e.Sign(key)
	p.entry = e.Marshal()
	return p
}

func first(actor string) publication {
	return publish(actor, transparency.KindFirst, 0, 0, account(1))
}

func update(actor string, seq uint32, changes ...change) publication {
	return publish(actor, transparency.KindUpdate, seq, 0, account(1), changes...)
}

func (b *bench) append(p publication) (transparency.Answer, error) {
	return b.Append(ctx, p.entry, p.opening, p.list)
}

func (b *bench) appended(p publication) transparency.Answer {
	b.t.Helper()
	a, err := b.append(p)
	require.NoError(b.t, err)
	return a
}

// fill appends first entries of people who are not of interest until the log has a size.
func (b *bench) fill(size int64) {
	for n, _, err := b.store.Head(ctx); n < size; n++ {
		require.NoError(b.t, err)
		b.appended(first(fmt.Sprintf("https://a.example/users/%d", n)))
	}
}

func (b *bench) size() int64 {
	b.t.Helper()
	size, _, err := b.store.Head(ctx)
	require.NoError(b.t, err)
	return size
}

// head opens the newest checkpoint, and holds that there is no other of any size.
func (b *bench) head() transparency.Checkpoint {
	b.t.Helper()
	signed, err := b.Checkpoint(ctx)
	require.NoError(b.t, err)
	v, err := pinned(b.t).Verifier()
	require.NoError(b.t, err)
	c, err := transparency.OpenCheckpoint(signed, v)
	require.NoError(b.t, err)
	require.Equal(b.t, b.size(), c.Size)
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	for size, all := range b.store.checkpoints {
		require.Len(b.t, all, 1, "checkpoints of size %d", size)
	}
	return c
}

// root of the tree over entries, computed without the store's hashes.
func root(t testing.TB, entries [][]byte) tlog.Hash {
	t.Helper()
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range indexes {
			out = append(out, stored[i])
		}
		return out, nil
	})
	for i, e := range entries {
		h, err := tlog.StoredHashes(int64(i), e, read)
		require.NoError(t, err)
		stored = append(stored, h...)
	}
	h, err := tlog.TreeHash(int64(len(entries)), read)
	require.NoError(t, err)
	return h
}

func requireCheck(t testing.TB, check string, err error, about ...any) {
	t.Helper()
	var failed *transparency.CheckError
	require.True(t, errors.As(err, &failed), "%v: want check %s, got %v", about, check, err)
	require.Equal(t, check, failed.Check, about...)
}
