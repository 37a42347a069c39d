package sequencer_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
	"github.com/waxwing-dm/waxwing/transparency/sequencer/storetest"
	"github.com/waxwing-dm/waxwing/transparency/vrf"
)

const (
	host      = "a.example"
	alice     = "https://a.example/users/alice"
	bob       = "https://a.example/users/bob"
	elsewhere = "https://b.example/users/alice"

	first  = transparency.KindFirst
	update = transparency.KindUpdate
	reset  = transparency.KindReset
	revoke = transparency.KindRevoke
	move   = transparency.KindMove
	erase  = transparency.KindErase
	pad    = transparency.KindPad
)

var (
	ctx    = context.Background()
	logKey = account(200)
	labels = must(vrf.NewPrivateKey(bytes.Repeat([]byte{201}, 32)))
	start  = time.UnixMilli(1_700_000_000_000)
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// account is an account key that follows from a number; so are device keys.
func account(n byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, 32)) }

func deviceKey(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(append(bytes.Repeat([]byte{n}, 31), 255))
}

func public(key ed25519.PrivateKey) [32]byte { return [32]byte(key.Public().(ed25519.PublicKey)) }

var errDisk = errors.New("the disk is full")

// recorder remembers every checkpoint that it was given, and fails when told to.
type recorder struct {
	*storetest.Memory
	mu      sync.Mutex
	given   map[string]int64 // checkpoints by what they say
	durable map[int64]string
	before  bool // fail before anything is written
	after   bool // fail after everything is written: the batch is there and nobody hears of it
	calls   int  // of Append, that failed or not
}

func (r *recorder) Append(ctx context.Context, b sequencer.Batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	size := b.Size + int64(len(b.Entries))
	r.given[string(b.Checkpoint)] = size
	if r.before {
		return errDisk
	}
	if err := r.Memory.Append(ctx, b); err != nil {
		return err
	}
	if _, twice := r.durable[size]; twice {
		panic(fmt.Sprintf("two durable checkpoints of size %d", size))
	}
	r.durable[size] = string(b.Checkpoint)
	if r.after {
		return errDisk
	}
	return nil
}

func (r *recorder) fail(before, after bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before, r.after = before, after
}

// A bench is a sequencer on a store and a clock that a test turns.
type bench struct {
	*sequencer.Sequencer
	t     testing.TB
	store *recorder
	alone bool
	now   time.Time
}

// newBench has a log without witnesses, witnessed(t) one whose growth nobody sees before cosign.
func newBench(t testing.TB) *bench  { return newBenchOf(t, true) }
func witnessed(t testing.TB) *bench { return newBenchOf(t, false) }

func newBenchOf(t testing.TB, alone bool) *bench {
	b := &bench{t: t, store: &recorder{Memory: new(storetest.Memory), given: map[string]int64{}, durable: map[int64]string{}}, alone: alone, now: start}
	b.restart()
	return b
}

func (b *bench) config() sequencer.Config {
	return sequencer.Config{Store: b.store, Host: host, Key: logKey, VRF: labels, Now: func() time.Time { return b.now }, Alone: b.alone}
}

// restart is another process on the same store.
func (b *bench) restart() {
	s, err := sequencer.New(ctx, b.config())
	require.NoError(b.t, err)
	b.Sequencer = s
}

// cosignature is a line as a witness adds it; what it says is for others to check.
func cosignature(name string) []byte {
	h := sha256.Sum256([]byte(name))
	return fmt.Appendf(nil, "\u2014 %s %s\n", name, base64.StdEncoding.EncodeToString(append(h[:], bytes.Repeat(h[:4], 11)...)))
}

func cosigned(checkpoint []byte) []byte {
	return append(bytes.Clone(checkpoint), cosignature("witness.example/w1")...)
}

// cosign takes the head to a witness and back.
func (b *bench) cosign() {
	b.t.Helper()
	_, checkpoint := b.Unwitnessed()
	require.NoError(b.t, b.Witnessed(ctx, cosigned(checkpoint)))
}

// A said is a statement with what it commits to, and whose it is.
type said struct {
	transparency.Statement
	actor   string
	opening [32]byte
	content []byte
}

func (s said) submission() sequencer.Submission {
	return sequencer.Submission{Actor: s.actor, Statement: s.Marshal(), Opening: s.opening, Content: s.content}
}

type change func(*keydir.Change)

// says is what the actor's account key n says next, promising itself.
func (b *bench) says(kind transparency.Kind, actor string, previous *said, n byte, devices ...byte) said {
	return b.saysWith(kind, actor, previous, n, nil, devices...)
}

func (b *bench) saysWith(kind transparency.Kind, actor string, previous *said, n byte, change change, devices ...byte) said {
	c := keydir.Change{Kind: kind, Label: b.Label(actor), List: keydir.DeviceList{Actor: actor}, Next: public(account(n)), MovedTo: elsewhere}
	for _, d := range devices {
		c.List.Devices = append(c.List.Devices, keydir.Device{SignatureKey: public(deviceKey(d)), Added: 5})
	}
	slices.SortFunc(c.List.Devices, func(a, b keydir.Device) int { return bytes.Compare(a.SignatureKey[:], b.SignatureKey[:]) })
	var before *transparency.Statement
	if previous != nil {
		before = &previous.Statement
	}
	c.Opening = sha256.Sum256(fmt.Append(nil, kind, actor, previous, n, devices))
	if change != nil {
		change(&c)
	}
	s, content := c.Sign(before, account(n), uint64(b.now.UnixMilli()))
	return said{s, actor, c.Opening, content}
}

// revokes is what device n says next.
func (b *bench) revokes(previous said, n byte) said {
	b.t.Helper()
	state, err := keydir.Open(previous.actor, previous.Statement, previous.opening, previous.content)
	require.NoError(b.t, err)
	opening := sha256.Sum256(fmt.Append(nil, "revocation", previous, n))
	s, content := keydir.RevokeDevice(state, previous.opening, opening, deviceKey(n), uint64(b.now.UnixMilli()))
	return said{s, previous.actor, opening, content}
}

// signed changes a statement and signs it again.
func (s said) signed(n byte, change func(*transparency.Statement)) said {
	change(&s.Statement)
	s.Sign(account(n), nil)
	return s
}

func (b *bench) first(actor string) said { return b.says(first, actor, nil, 1, 1, 2) }

func (b *bench) append(s said) (int64, error) { return b.Append(ctx, s.submission()) }

func (b *bench) appended(s said) said {
	b.t.Helper()
	_, err := b.append(s)
	require.NoError(b.t, err)
	return s
}

// fill pads the log up to a size.
func (b *bench) fill(size int64) {
	for n := b.size(); n < size; n++ {
		require.NoError(b.t, b.Pad(ctx))
	}
}

func (b *bench) size() int64 {
	b.t.Helper()
	h, err := b.store.Head(ctx)
	require.NoError(b.t, err)
	return h.Size
}

func (b *bench) verifier() note.Verifier {
	return must(note.NewVerifier(must(b.VerifierKey())))
}

// head opens the newest checkpoint that is served.
func (b *bench) head() transparency.Checkpoint {
	b.t.Helper()
	signed, err := b.Checkpoint()
	require.NoError(b.t, err)
	c, err := transparency.OpenCheckpoint(signed, b.verifier())
	require.NoError(b.t, err)
	return c
}

// A reader looks people up and remembers what it saw.
type reader struct {
	b     *bench
	log   transparency.Log
	known map[string]*keydir.Record
}

func (b *bench) reader() *reader {
	log, err := transparency.Pin(host, b.Origin(), must(b.VerifierKey()), b.VRFKey())
	require.NoError(b.t, err)
	return &reader{b, log, map[string]*keydir.Record{}}
}

// look asks through bytes, as somebody far away does, and believes only what is proven. nil: the actor has no keys.
func (r *reader) look(actor string) (*keydir.Record, error) {
	a, err := r.b.Answer(ctx, actor, r.log.Size)
	if err != nil {
		return nil, err
	}
	a, err = transparency.ParseAnswer(a.Marshal())
	if err != nil {
		return nil, err
	}
	log, record, _, err := keydir.Verify(r.log, r.known[actor], actor, a, transparency.Terms{Now: 1})
	if err != nil {
		return nil, err
	}
	r.log = log
	if record != nil {
		r.known[actor] = record
	}
	return record, nil
}

func (r *reader) sees(s said) *keydir.Record {
	r.b.t.Helper()
	record, err := r.look(s.actor)
	require.NoError(r.b.t, err)
	require.NotNil(r.b.t, record)
	require.Equal(r.b.t, s.Statement, record.Statement)
	return record
}

func (r *reader) seesNothing(actor string) {
	r.b.t.Helper()
	record, err := r.look(actor)
	require.NoError(r.b.t, err)
	require.Nil(r.b.t, record)
}

func requireCheck(t testing.TB, check string, err error, about ...any) {
	t.Helper()
	var failed *transparency.CheckError
	require.True(t, errors.As(err, &failed), "%v: want check %s, got %v", about, check, err)
	require.Equal(t, check, failed.Check, "%v: %v", about, err)
}

// A replay is a second account of what a log is: it has read nothing but entries, keeps the map as a Go map, and hashes it all each
// time by the definition in spec/prefix-tree.md.
type replay struct {
	newest map[[32]byte]transparency.Statement
	leaves []tlog.Hash
}

func (r *replay) add(t testing.TB, raw []byte, root bool) {
	t.Helper()
	e, err := transparency.ParseEntry(raw)
	require.NoError(t, err)
	var before *transparency.Statement
	if s, ok := r.newest[e.Label]; ok {
		before = &s
	}
	require.NoError(t, e.Follows(before), "entry %d", len(r.leaves))
	require.NoError(t, e.VerifySignature(before), "entry %d", len(r.leaves))
	if e.Kind != pad {
		r.newest[e.Label] = e.Statement
	}
	if root {
		require.Equal(t, r.root(), e.MapRoot, "entry %d", len(r.leaves))
	}
	r.leaves = append(r.leaves, sha256.Sum256(append([]byte{0}, raw...)))
}

func (r *replay) root() [32]byte {
	var all [][32]byte
	for l := range r.newest {
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	if len(all) == 0 {
		return sha256.Sum256([]byte("waxwing map void v1\x00"))
	}
	return r.subtree(all)
}

func (r *replay) subtree(sorted [][32]byte) [32]byte {
	first, last := sorted[0], sorted[len(sorted)-1]
	if len(sorted) == 1 {
		value := r.newest[first].MapValue()
		return sha256.Sum256(slices.Concat([]byte("waxwing map leaf v1\x00"), first[:], value[:]))
	}
	bit := func(l [32]byte, i int) byte { return l[i/8] >> (7 - i%8) & 1 }
	depth := 0
	var prefix [32]byte
	for ; bit(first, depth) == bit(last, depth); depth++ {
		prefix[depth/8] |= bit(first, depth) << (7 - depth%8)
	}
	half := slices.IndexFunc(sorted, func(l [32]byte) bool { return bit(l, depth) == 1 })
	left, right := r.subtree(sorted[:half]), r.subtree(sorted[half:])
	return sha256.Sum256(slices.Concat([]byte("waxwing map node v1\x00"), []byte{byte(depth)}, prefix[:], left[:], right[:]))
}

// treeHash is MTH of RFC 6962 section 2.1.
func treeHash(leaves []tlog.Hash) tlog.Hash {
	if len(leaves) == 1 {
		return leaves[0]
	}
	k := 1
	for k*2 < len(leaves) {
		k *= 2
	}
	left, right := treeHash(leaves[:k]), treeHash(leaves[k:])
	return sha256.Sum256(slices.Concat([]byte{1}, left[:], right[:]))
}

// replayed reads the whole log, and holds that it is in order and is what was signed.
func (b *bench) replayed() *replay {
	b.t.Helper()
	h, err := b.store.Head(ctx)
	require.NoError(b.t, err)
	entries, err := b.store.Entries(ctx, 0, h.Size)
	require.NoError(b.t, err)
	r := &replay{newest: map[[32]byte]transparency.Statement{}}
	for i, raw := range entries {
		r.add(b.t, raw, len(entries) < 300 || i%40 == 0 || i == len(entries)-1)
	}
	for _, signed := range [][]byte{h.Checkpoint, h.Witnessed} {
		if len(signed) == 0 {
			continue
		}
		c, err := transparency.OpenCheckpoint(signed, b.verifier())
		require.NoError(b.t, err)
		require.Equal(b.t, treeHash(r.leaves[:c.Size]), c.Root)
	}
	return r
}
