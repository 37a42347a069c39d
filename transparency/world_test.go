package transparency_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/prefixtree"
	"github.com/waxwing-dm/waxwing/transparency/vrf"
)

const (
	host  = "a.example"
	alice = "https://a.example/users/alice"
	bob   = "https://a.example/users/bob"
)

var (
	content = []byte("what a statement commits to")
	opening = [32]byte{0: 7, 31: 9}
)

// account is an account key that follows from a number.
func account(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

func public(key ed25519.PrivateKey) [32]byte { return [32]byte(key.Public().(ed25519.PublicKey)) }

func labelKey(n byte) *vrf.PrivateKey {
	key, err := vrf.NewPrivateKey(bytes.Repeat([]byte{n}, vrf.SeedSize))
	if err != nil {
		panic(err)
	}
	return key
}

var labels sync.Map // a label takes longer than all else here

func label(key *vrf.PrivateKey, actor string) [32]byte {
	name := actor + fmt.Sprint(key.Seed())
	if l, ok := labels.Load(name); ok {
		return l.([32]byte)
	}
	_, output := key.Prove([]byte(actor))
	labels.Store(name, [32]byte(output[:32]))
	return [32]byte(output[:32])
}

// statement is one of alice's, signed by account(1) and promising account(1); change is made to it before it is signed.
func statement(kind transparency.Kind, seq, lastReset uint32, change ...func(*transparency.Statement)) transparency.Statement {
	s := transparency.Statement{
		Kind: kind, Time: 1_700_000_000_000 + uint64(seq), Label: label(labelKey(1), alice), Seq: seq, LastReset: lastReset,
		AuthNext: transparency.AccountKeyHash(public(account(1))), Commitment: transparency.Commit(opening, content),
	}
	for _, c := range change {
		c(&s)
	}
	s.Sign(account(1), nil)
	return s
}

func update(seq uint32) transparency.Statement { return statement(transparency.KindUpdate, seq, 0) }

// of gives a statement another actor.
func of(actor string) func(*transparency.Statement) {
	return func(s *transparency.Statement) { s.Label = label(labelKey(1), actor) }
}

// A signedLog is the smallest thing that grows and signs as a log does, and checks nothing. Its proofs come from the definitions in
// RFC 6962 and not from the module that the code under test uses.
type signedLog struct {
	signer  note.Signer
	key     string
	vrf     *vrf.PrivateKey
	entries []transparency.Entry
	raw     [][]byte
	maps    []prefixtree.Tree // after each entry
	merkle
}

func newLog(t testing.TB) *signedLog { return newLogOf(t, labelKey(1)) }

func newLogOf(t testing.TB, labels *vrf.PrivateKey) *signedLog {
	t.Helper()
	key := labels.Public().Bytes()
	signer, public := newSigner(t, transparency.Origin(host, key[:]))
	return &signedLog{signer: signer, key: public, vrf: labels, merkle: merkle{known: map[[2]int]tlog.Hash{}}}
}

func newSigner(t testing.TB, name string) (note.Signer, string) {
	t.Helper()
	private, public, err := note.GenerateKey(nil, name)
	require.NoError(t, err)
	signer, err := note.NewSigner(private)
	require.NoError(t, err)
	return signer, public
}

// twin is a log of the same keys that has seen nothing.
func (l *signedLog) twin() *signedLog {
	return &signedLog{signer: l.signer, key: l.key, vrf: l.vrf, merkle: merkle{known: map[[2]int]tlog.Hash{}}}
}

func (l *signedLog) tree() prefixtree.Tree {
	if len(l.maps) == 0 {
		return prefixtree.Tree{}
	}
	return l.maps[len(l.maps)-1]
}

// add appends statements, and puts them into the map if they are of a label.
func (l *signedLog) add(statements ...transparency.Statement) *signedLog {
	for _, s := range statements {
		tree := l.tree()
		if s.Kind != transparency.KindPad {
			tree = tree.Put(s.Label, s.MapValue())
		}
		l.addWith(s, tree)
	}
	return l
}

// addWith appends a statement with a map that may have nothing to do with it.
func (l *signedLog) addWith(s transparency.Statement, tree prefixtree.Tree) *signedLog {
	e := transparency.Entry{Statement: s, MapRoot: tree.Root()}
	l.entries, l.maps = append(l.entries, e), append(l.maps, tree)
	return l.addRaw(e.Marshal())
}

func (l *signedLog) addRaw(raw []byte) *signedLog {
	for len(l.entries) < len(l.raw)+1 {
		l.entries, l.maps = append(l.entries, transparency.Entry{}), append(l.maps, l.tree())
	}
	l.raw, l.leaves = append(l.raw, raw), append(l.leaves, transparency.LeafHash(raw))
	return l
}

// grow appends updates of alice's up to a size.
func (l *signedLog) grow(size int) *signedLog {
	for len(l.raw) < size {
		l.add(update(uint32(len(l.raw)) + 1))
	}
	return l
}

// pinned is what a reader begins with.
func (l *signedLog) pinned() transparency.Log {
	key := l.vrf.Public().Bytes()
	return transparency.Log{Origin: l.signer.Name(), Key: l.key, VRF: key[:]}
}

// at is what a reader remembers that has seen the log at a size.
func (l *signedLog) at(size int) transparency.Log {
	p := l.pinned()
	if size > 0 {
		p.Size, p.Root = int64(size), l.root(0, size)
	}
	return p
}

func (l *signedLog) checkpoint(t testing.TB, size int) []byte {
	t.Helper()
	c := transparency.Checkpoint{Origin: l.signer.Name(), Size: int64(size), Root: l.root(0, size)}
	signed, err := transparency.SignCheckpoint(c, l.signer)
	require.NoError(t, err)
	return signed
}

// answer about an actor in the tree of a size, to a reader who has seen the log at another size.
func (l *signedLog) answer(t testing.TB, actor string, size, from int) transparency.Answer {
	t.Helper()
	a := transparency.Answer{
		Checkpoint: l.checkpoint(t, size), Newest: l.raw[size-1], Inclusion: l.inclusion(size-1, 0, size), Map: l.maps[size-1].Prove(label(l.vrf, actor)).Marshal(),
	}
	a.VRF, _ = l.vrf.Prove([]byte(actor))
	if from > 0 && from < size {
		a.Consistency = l.consistency(from, 0, size, true)
	}
	for _, e := range l.entries[:size] {
		if e.Kind != transparency.KindPad && e.Label == label(l.vrf, actor) {
			a.Found = &transparency.Found{Statement: e.Statement.Marshal(), Opening: opening, Content: content}
		}
	}
	return a
}

// merkle is RFC 6962 section 2.1 over leaves; ranges are [from, to). A root is computed once.
type merkle struct {
	leaves []tlog.Hash
	known  map[[2]int]tlog.Hash
}

// split is the largest power of two below n.
func split(n int) int {
	k := 1
	for k*2 < n {
		k *= 2
	}
	return k
}

// root is MTH.
func (m *merkle) root(from, to int) tlog.Hash {
	switch to - from {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return m.leaves[from]
	}
	if h, ok := m.known[[2]int{from, to}]; ok {
		return h
	}
	k := from + split(to-from)
	h := tlog.NodeHash(m.root(from, k), m.root(k, to))
	m.known[[2]int{from, to}] = h
	return h
}

// inclusion is PATH of section 2.1.1.
func (m *merkle) inclusion(index, from, to int) []tlog.Hash {
	if to-from < 2 {
		return nil
	}
	if k := from + split(to-from); index < k {
		return append(m.inclusion(index, from, k), m.root(k, to))
	} else {
		return append(m.inclusion(index, k, to), m.root(from, k))
	}
}

// consistency is SUBPROOF of section 2.1.2; old is where the older tree ends.
func (m *merkle) consistency(old, from, to int, whole bool) []tlog.Hash {
	if old == to {
		if whole {
			return nil
		}
		return []tlog.Hash{m.root(from, to)}
	}
	if k := from + split(to-from); old <= k {
		return append(m.consistency(old, from, k, whole), m.root(k, to))
	} else {
		return append(m.consistency(old, k, to, false), m.root(from, k))
	}
}

// requireCheck holds that the error names a numbered check.
func requireCheck(t testing.TB, check string, err error, about ...any) {
	t.Helper()
	var failed *transparency.CheckError
	require.True(t, errors.As(err, &failed), "%v: want check %s, got %v", about, check, err)
	require.Equal(t, check, failed.Check, "%v: %v", about, err)
	require.NotEmpty(t, failed.Reason)
	require.Contains(t, err.Error(), check)
}

// refused holds that a check of an answer about alice fails and that nothing of it is kept.
func refused(t testing.TB, check string, known transparency.Log, a transparency.Answer, about ...any) {
	t.Helper()
	refusedOf(t, alice, check, known, a, about...)
}

func refusedOf(t testing.TB, actor, check string, known transparency.Log, a transparency.Answer, about ...any) {
	t.Helper()
	next, f, err := known.Check(actor, a, transparency.Terms{})
	requireCheck(t, check, err, about...)
	require.Equal(t, known, next, about...)
	require.Zero(t, f, about...)
}
