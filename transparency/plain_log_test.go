package transparency_test

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
)

const origin = "a.example/waxwing/log"

// A plainLog is any log of the world, whose entries nobody here reads: who witnesses need not know what stands in them.
type plainLog struct {
	signer  note.Signer
	key     string
	entries [][]byte
}

func newPlainLog(t testing.TB, name string) *plainLog {
	signer, key := newSigner(t, name)
	return &plainLog{signer: signer, key: key}
}

// grow appends entries that differ, up to a size.
func (l *plainLog) grow(size int) *plainLog {
	for len(l.entries) < size {
		l.entries = append(l.entries, binary.BigEndian.AppendUint64(nil, uint64(len(l.entries))))
	}
	return l
}

func (l *plainLog) leaves(size int64) []tlog.Hash {
	var out []tlog.Hash
	for _, e := range l.entries[:size] {
		out = append(out, transparency.LeafHash(e))
	}
	return out
}

func (l *plainLog) checkpoint(t testing.TB, size int64) []byte {
	t.Helper()
	c := transparency.Checkpoint{Origin: l.signer.Name(), Size: size, Root: treeHash(l.leaves(size))}
	signed, err := transparency.SignCheckpoint(c, l.signer)
	require.NoError(t, err)
	return signed
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
