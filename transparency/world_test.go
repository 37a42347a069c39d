package transparency_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
)

const (
	origin = "a.example/waxwing/log"
	alice  = "https://a.example/users/alice"
)

var (
	devices = []byte("the bytes of a device list")
	opening = [32]byte{0: 7, 31: 9}
)

// account is an account key that follows from a number.
func account(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

func public(key ed25519.PrivateKey) [32]byte { return [32]byte(key.Public().(ed25519.PublicKey)) }

// entry is one of alice's, signed by account(1) and promising account(1); change is made to it before it is signed.
func entry(kind transparency.Kind, seq, lastReset uint32, change ...func(*transparency.Entry)) transparency.Entry {
	e := transparency.Entry{
		Kind: kind, Time: 1_700_000_000_000 + uint64(seq), Label: transparency.Label(alice), Seq: seq, LastReset: lastReset,
		AuthNext: transparency.AccountKeyHash(public(account(1))), Commitment: transparency.Commit(opening, devices),
	}
	for _, c := range change {
		c(&e)
	}
	e.Sign(account(1))
	return e
}

// A signedLog is the smallest thing that grows and signs as a log does. Its proofs come from the definitions in RFC 6962 and
// not from the module that the code under test uses.
type signedLog struct {
	signer  note.Signer
	key     string
	entries [][]byte
}

func newLog(t testing.TB, name string) *signedLog {
	t.Helper()
	private, public, err := note.GenerateKey(nil, name)
	require.NoError(t, err)
	signer, err := note.NewSigner(private)
	require.NoError(t, err)
	return &signedLog{signer: signer, key: public}
}

// grow appends entries that differ, up to a size.
func (l *signedLog) grow(size int) *signedLog {
	for len(l.entries) < size {
		l.entries = append(l.entries, entry(transparency.KindUpdate, uint32(len(l.entries))+1, 0).Marshal())
	}
	return l
}

func (l *signedLog) add(raw ...[]byte) *signedLog {
	l.entries = append(l.entries, raw...)
	return l
}

func (l *signedLog) pinned() transparency.Log {
	return transparency.Log{Origin: l.signer.Name(), Key: l.key}
}

func (l *signedLog) leaves(size int64) []tlog.Hash {
	var out []tlog.Hash
	for _, e := range l.entries[:size] {
		out = append(out, transparency.LeafHash(e))
	}
	return out
}

// at is what a reader remembers that has seen the log at a size.
func (l *signedLog) at(size int64) transparency.Log {
	p := l.pinned()
	p.Size, p.Root = size, treeHash(l.leaves(size))
	return p
}

func (l *signedLog) checkpoint(t testing.TB, size int64) []byte {
	t.Helper()
	c := transparency.Checkpoint{Origin: l.signer.Name(), Size: size, Root: treeHash(l.leaves(size))}
	signed, err := transparency.SignCheckpoint(c, l.signer)
	require.NoError(t, err)
	return signed
}

// answer about the entry at an index, in the tree of a size, to a reader who has seen the log at another size.
func (l *signedLog) answer(t testing.TB, index, size, from int64) transparency.Answer {
	t.Helper()
	leaves := l.leaves(size)
	a := transparency.Answer{
		Checkpoint: l.checkpoint(t, size), Index: index, Entry: l.entries[index], Opening: opening, Devices: devices,
		Inclusion: inclusion(index, leaves),
	}
	if from > 0 && from < size {
		a.Consistency = consistency(from, leaves, true)
	}
	return a
}

// split is the largest power of two below n.
func split(n int) int {
	k := 1
	for k*2 < n {
		k *= 2
	}
	return k
}

// treeHash is MTH of RFC 6962 section 2.1.
func treeHash(leaves []tlog.Hash) tlog.Hash {
	switch n := len(leaves); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return leaves[0]
	default:
		k := split(n)
		return tlog.NodeHash(treeHash(leaves[:k]), treeHash(leaves[k:]))
	}
}

// inclusion is PATH of RFC 6962 section 2.1.1.
func inclusion(m int64, leaves []tlog.Hash) []tlog.Hash {
	if len(leaves) < 2 {
		return nil
	}
	if k := split(len(leaves)); m < int64(k) {
		return append(inclusion(m, leaves[:k]), treeHash(leaves[k:]))
	} else {
		return append(inclusion(m-int64(k), leaves[k:]), treeHash(leaves[:k]))
	}
}

// consistency is SUBPROOF of RFC 6962 section 2.1.2.
func consistency(m int64, leaves []tlog.Hash, whole bool) []tlog.Hash {
	if m == int64(len(leaves)) {
		if whole {
			return nil
		}
		return []tlog.Hash{treeHash(leaves)}
	}
	if k := split(len(leaves)); m <= int64(k) {
		return append(consistency(m, leaves[:k], whole), treeHash(leaves[k:]))
	} else {
		return append(consistency(m-int64(k), leaves[k:], false), treeHash(leaves[:k]))
	}
}

// requireCheck holds that the error names a numbered check.
func requireCheck(t testing.TB, check string, err error, about ...any) {
	t.Helper()
	var failed *transparency.CheckError
	require.True(t, errors.As(err, &failed), "%v: want check %s, got %v", about, check, err)
	require.Equal(t, check, failed.Check, about...)
	require.NotEmpty(t, failed.Reason)
	require.Contains(t, err.Error(), check)
}
