package keydir_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/prefixtree"
	"github.com/waxwing-dm/waxwing/transparency/vrf"
)

const (
	alice = "https://a.example/users/alice"
	bob   = "https://a.example/users/bob"
	now   = uint64(1_700_000_000_000)

	first  = transparency.KindFirst
	update = transparency.KindUpdate
	reset  = transparency.KindReset
	revoke = transparency.KindRevoke
	move   = transparency.KindMove
	erase  = transparency.KindErase
	pad    = transparency.KindPad
)

var atNow = transparency.Terms{Now: int64(now / 1000)}

type statement = transparency.Statement

// account is an account key that follows from a number; so are device keys.
func account(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, 32))
}

func deviceKey(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(append(bytes.Repeat([]byte{n}, 31), 255))
}

func public(key ed25519.PrivateKey) [32]byte { return [32]byte(key.Public().(ed25519.PublicKey)) }

func openingOf(n uint32) [32]byte { return sha256.Sum256([]byte{byte(n), byte(n >> 8), 77}) }

// listOf devices that follow from numbers.
func listOf(actor string, devices ...byte) keydir.DeviceList {
	l := keydir.DeviceList{Actor: actor}
	for _, d := range devices {
		l.Devices = append(l.Devices, keydir.Device{SignatureKey: devicePublic(d), Added: now})
	}
	slices.SortFunc(l.Devices, func(a, b keydir.Device) int { return bytes.Compare(a.SignatureKey[:], b.SignatureKey[:]) })
	return l
}

// A said is a statement with what it commits to.
type said struct {
	statement
	opening [32]byte
	content []byte
}

func (s said) open(t testing.TB) keydir.State {
	t.Helper()
	state, err := keydir.Open(actorOf[s.Label], s.statement, s.opening, s.content)
	require.NoError(t, err)
	return state
}

var (
	labels  = must(vrf.NewPrivateKey(bytes.Repeat([]byte{5}, 32)))
	actorOf = map[[32]byte]string{label(alice): alice, label(bob): bob}
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func label(actor string) [32]byte {
	_, output := labels.Prove([]byte(actor))
	return [32]byte(output[:32])
}

var aliceProof, _ = labels.Prove([]byte(alice))

var aliceLabel = label(alice)

// says is what alice's account key n says next, promising key next.
func says(kind transparency.Kind, previous *said, n, next byte, devices ...byte) said {
	c := keydir.Change{Kind: kind, Label: aliceLabel, List: listOf(alice, devices...), Next: public(account(next)), MovedTo: bob}
	var before *statement
	if previous != nil {
		before, c.Opening = &previous.statement, openingOf(previous.Seq+1)
	}
	s, content := c.Sign(before, account(n), now)
	return said{s, c.Opening, content}
}

// revokes is what device n says next.
func revokes(t testing.TB, previous said, n byte) said {
	t.Helper()
	opening := openingOf(previous.Seq + 1)
	s, content := keydir.RevokeDevice(previous.open(t), previous.opening, opening, deviceKey(n), now)
	return said{s, opening, content}
}

func erases(previous said) said {
	seq := previous.Seq + 1
	return said{statement: statement{Kind: erase, Time: previous.Time, Label: previous.Label, Seq: seq, LastReset: seq}}
}

// A hostileLog appends and proves what it is told; nobody checks before.
type hostileLog struct {
	t      testing.TB
	signer note.Signer
	known  transparency.Log // as the reader has it
	stored []tlog.Hash
	size   int64
	newest []byte
	tree   prefixtree.Tree
}

func newLog(t testing.TB) *hostileLog {
	key := labels.Public().Bytes()
	origin := transparency.Origin("a.example", key[:])
	private, public, err := note.GenerateKey(nil, origin)
	require.NoError(t, err)
	signer, err := note.NewSigner(private)
	require.NoError(t, err)
	known, err := transparency.Pin("a.example", origin, public, key[:])
	require.NoError(t, err)
	l := &hostileLog{t: t, signer: signer, known: known}
	l.append(statement{Kind: pad})
	return l
}

func (l *hostileLog) ReadHashes(indexes []int64) (out []tlog.Hash, err error) {
	for _, i := range indexes {
		out = append(out, l.stored[i])
	}
	return out, nil
}

func (l *hostileLog) append(s statement) {
	if s.Kind != pad {
		l.tree = l.tree.Put(s.Label, s.MapValue())
	}
	l.newest = transparency.Entry{Statement: s, MapRoot: l.tree.Root()}.Marshal()
	l.stored = append(l.stored, must(tlog.StoredHashes(l.size, l.newest, l))...)
	l.size++
}

// answer about alice, of whom s is the newest, nil if there is none.
func (l *hostileLog) answer(s *said) transparency.Answer {
	a := transparency.Answer{Newest: l.newest, Map: l.tree.Prove(aliceLabel).Marshal(), VRF: aliceProof}
	root := must(tlog.TreeHash(l.size, l))
	a.Checkpoint = must(transparency.SignCheckpoint(transparency.Checkpoint{Origin: l.known.Origin, Size: l.size, Root: root}, l.signer))
	a.Inclusion = must(tlog.ProveRecord(l.size, l.size-1, l))
	if l.known.Size > 0 && l.known.Size < l.size {
		a.Consistency = must(tlog.ProveTree(l.size, l.known.Size, l))
	}
	if s != nil {
		a.Found = &transparency.Found{Statement: s.Marshal(), Opening: s.opening, Content: s.content}
	}
	return a
}

// learn appends what is said of alice, verifies the answer and remembers the log.
func (l *hostileLog) learn(known *keydir.Record, s said) (keydir.Record, error) {
	l.append(s.statement)
	return l.look(known, &s)
}

func (l *hostileLog) look(known *keydir.Record, s *said) (keydir.Record, error) {
	before := l.known
	next, r, got, err := keydir.Verify(l.known, known, alice, l.answer(s), atNow)
	if err != nil {
		require.Equal(l.t, before, next, "a log assigned on error")
		require.Nil(l.t, r, "a record assigned on error")
		require.Zero(l.t, got)
		return keydir.Record{}, err
	}
	require.Equal(l.t, l.size, next.Size)
	require.Equal(l.t, aliceLabel, got.Label)
	l.known = next
	if r == nil {
		return keydir.Record{}, nil
	}
	return *r, nil
}

func requireCheck(t testing.TB, check string, err error, about ...any) {
	t.Helper()
	var failed *transparency.CheckError
	require.True(t, errors.As(err, &failed), "%v: want check %s, got %v", about, check, err)
	require.Equal(t, check, failed.Check, "%v: %v", about, err)
}

// keysOf a list, as the numbers that its devices follow from.
func keysOf(l keydir.DeviceList) (out []byte) {
	for n := range byte(keydir.MaxDevices) {
		if k := devicePublic(n); l.Has(k[:]) {
			out = append(out, n)
		}
	}
	if len(out) != len(l.Devices) {
		panic(fmt.Sprint("a device that is nobody's: ", len(out), len(l.Devices)))
	}
	return out
}

var devicePublics sync.Map

func devicePublic(n byte) [32]byte {
	k, ok := devicePublics.Load(n)
	if !ok {
		k = public(deviceKey(n))
		devicePublics.Store(n, k)
	}
	return k.([32]byte)
}

func tlogHashes(l *hostileLog, data []byte) ([]tlog.Hash, error) {
	return tlog.StoredHashes(l.size, data, l)
}
