package witness_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/witness"
	"github.com/waxwing-dm/waxwing/transparency/witness/storetest"
)

const (
	origin = "a.example/waxwing/log"
	noon   = int64(1_700_000_000)
)

var ctx = context.Background()

// A history is one version of what a log may claim to have happened.
type history struct {
	signer note.Signer
	key    note.Verifier
	stored []tlog.Hash
	size   int64
}

func newHistory(t testing.TB, name string) *history {
	t.Helper()
	private, public, err := note.GenerateKey(nil, name)
	require.NoError(t, err)
	signer, err := note.NewSigner(private)
	require.NoError(t, err)
	key, err := note.NewVerifier(public)
	require.NoError(t, err)
	return &history{signer: signer, key: key}
}

func (h *history) read(indexes []int64) (out []tlog.Hash, err error) {
	for _, i := range indexes {
		out = append(out, h.stored[i])
	}
	return out, nil
}

// grow appends entries of that colour up to a size.
func (h *history) grow(t require.TestingT, size int64, colour string) *history {
	for ; h.size < size; h.size++ {
		more, err := tlog.StoredHashes(h.size, fmt.Appendf(nil, "%s %d", colour, h.size), tlog.HashReaderFunc(h.read))
		require.NoError(t, err)
		h.stored = append(h.stored, more...)
	}
	return h
}

// fork is the same log up to a size, to be continued otherwise.
func (h *history) fork(size int64) *history {
	f := *h
	f.size, f.stored = size, append([]tlog.Hash{}, h.stored[:tlog.StoredHashCount(size)]...)
	return &f
}

func (h *history) root(t require.TestingT, size int64) tlog.Hash {
	r, err := tlog.TreeHash(size, tlog.HashReaderFunc(h.read))
	require.NoError(t, err)
	return r
}

func (h *history) checkpoint(t require.TestingT, size int64) []byte {
	c := transparency.Checkpoint{Origin: h.signer.Name(), Size: size, Root: h.root(t, size)}
	signed, err := transparency.SignCheckpoint(c, h.signer)
	require.NoError(t, err)
	return signed
}

func (h *history) prove(_ context.Context, from, to int64) ([]tlog.Hash, error) {
	return tlog.ProveTree(to, from, tlog.HashReaderFunc(h.read))
}

// body of a request to go from one size to another.
func (h *history) body(t require.TestingT, from, to int64) []byte {
	var proof []tlog.Hash
	if from > 0 && from < to {
		var err error
		proof, err = h.prove(ctx, from, to)
		require.NoError(t, err)
	}
	return body(from, proof, h.checkpoint(t, to))
}

func body(from int64, proof []tlog.Hash, checkpoint []byte) []byte {
	b := fmt.Appendf(nil, "old %d\n", from)
	for _, x := range proof {
		b = fmt.Appendf(b, "%s\n", x)
	}
	return append(append(b, '\n'), checkpoint...)
}

func ed(t testing.TB, name string, n byte) *transparency.Cosigner {
	t.Helper()
	c, err := transparency.NewEd25519Cosigner(name, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, 32)))
	require.NoError(t, err)
	return c
}

func pq(t testing.TB, name string, n byte) *transparency.Cosigner {
	t.Helper()
	c, err := transparency.NewMLDSA44Cosigner(name, [32]byte{n})
	require.NoError(t, err)
	return c
}

var errDisk = errors.New("the disk is full")

// A fragile store fails when told to, before or after the effect.
type fragile struct {
	witness.Store
	fail, lost bool
	before     func() // called between reading and swapping
}

func (f *fragile) Swap(ctx context.Context, old, next witness.State) (bool, error) {
	if f.before != nil {
		f.before()
	}
	if f.fail {
		return false, errDisk
	}
	ok, err := f.Store.Swap(ctx, old, next)
	if f.lost {
		return false, errDisk
	}
	return ok, err
}

// A bench is a witness with a clock that a test turns.
type bench struct {
	*witness.Witness
	store *fragile
	keys  []*transparency.Cosigner
	mu    sync.Mutex
	now   int64
}

func (b *bench) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Unix(b.now, 0)
}

func newBench(t testing.TB, logs []*history, keys ...*transparency.Cosigner) *bench {
	t.Helper()
	b := &bench{store: &fragile{Store: new(storetest.Memory)}, keys: keys, now: noon}
	var err error
	b.Witness, err = witness.New(witness.Config{Keys: keys, LogKeys: pins(logs...), Store: b.store, Now: b.clock})
	require.NoError(t, err)
	return b
}

func pins(logs ...*history) func(context.Context, string) ([]note.Verifier, error) {
	return func(_ context.Context, origin string) (keys []note.Verifier, err error) {
		for _, l := range logs {
			if l.key.Name() == origin {
				keys = append(keys, l.key)
			}
		}
		return keys, nil
	}
}

func (b *bench) add(t require.TestingT, body []byte) witness.Response {
	r, err := b.AddCheckpoint(ctx, body)
	require.NoError(t, err)
	return r
}

// cosigned opens a checkpoint with the lines that a witness answered, all of which must verify, and gives their time.
func cosigned(t require.TestingT, checkpoint []byte, log note.Verifier, r witness.Response, keys ...*transparency.Cosigner) int64 {
	require.Equal(t, 200, r.Status, "%s", r.Body)
	require.Equal(t, len(keys), strings.Count(string(r.Body), "\n"))
	var public []*transparency.CosignerKey
	for _, k := range keys {
		public = append(public, k.Key())
	}
	_, n, err := transparency.OpenCosigned(append(bytes.Clone(checkpoint), r.Body...), []note.Verifier{log}, public)
	require.NoError(t, err)
	var all []int64
	for _, k := range public {
		at, ok := k.Time(n)
		require.True(t, ok, k.Name())
		require.NotZero(t, at)
		require.True(t, len(all) == 0 || all[0] == at, "one time for all keys")
		all = append(all, at)
	}
	return all[0]
}
