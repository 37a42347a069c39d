package sequencer_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/sidecar/store"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/prefixtree"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

var filled = map[int]string{} // folders of stores, by how many labels they have

// filledStore is a folder with a log of people who are not of interest. It is made without the sequencer, which takes longer.
func filledStore(b *testing.B, labels int) string {
	b.Helper()
	dir, ok := filled[labels]
	if !ok {
		var err error
		dir, err = os.MkdirTemp("", "waxwing-bench-")
		require.NoError(b, err)
		filled[labels] = dir
		began := time.Now()
		fillStore(b, dir, labels)
		b.Logf("%d labels made in %v", labels, time.Since(began).Round(time.Millisecond))
	}
	fresh := b.TempDir()
	from, err := os.ReadFile(filepath.Join(dir, "waxwingd.db"))
	require.NoError(b, err)
	require.NoError(b, os.WriteFile(filepath.Join(fresh, "waxwingd.db"), from, 0o600))
	return fresh
}

func fillStore(b *testing.B, dir string, count int) {
	account := account(1)
	st, err := store.Open(dir)
	require.NoError(b, err)
	defer st.Close()
	key := labels.Public().Bytes()
	signer := logSigner(b, transparency.Origin(host, key[:]))
	var tree prefixtree.Tree
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) (out []tlog.Hash, err error) {
		for _, i := range indexes {
			out = append(out, stored[i])
		}
		return out, nil
	})
	for size := 0; size < count; {
		batch := sequencer.Batch{Size: int64(size)}
		from := len(stored)
		for ; len(batch.Entries) < 1000 && size < count; size++ {
			row, entry := somebody(size, account, &tree)
			hashes, err := tlog.StoredHashes(int64(size), entry, read)
			require.NoError(b, err)
			stored = append(stored, hashes...)
			batch.Entries, batch.Rows = append(batch.Entries, entry), append(batch.Rows, row)
		}
		batch.Hashes = stored[from:]
		root, err := tlog.TreeHash(int64(size), read)
		require.NoError(b, err)
		batch.Checkpoint, err = transparency.SignCheckpoint(transparency.Checkpoint{Origin: signer.Name(), Size: int64(size), Root: root}, signer)
		require.NoError(b, err)
		batch.Served = true
		require.NoError(b, st.Log.Append(ctx, batch))
	}
}

// somebody has a label that is the output of no VRF, and two devices.
func somebody(i int, account ed25519.PrivateKey, tree *prefixtree.Tree) (sequencer.Row, []byte) {
	row := sequencer.Row{Index: int64(i), Opening: [32]byte{byte(i)}}
	list := keydir.DeviceList{Actor: fmt.Sprintf("https://a.example/users/number%d", i), Devices: make([]keydir.Device, 2)}
	list.Devices[1].SignatureKey[0] = 1
	row.Content = list.Marshal()
	label := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
	s := transparency.Statement{Kind: first, Time: uint64(start.UnixMilli()), Label: label, Commitment: transparency.Commit(row.Opening, row.Content)}
	s.Sign(account, nil)
	*tree = tree.Put(label, s.MapValue())
	return row, transparency.Entry{Statement: s, MapRoot: tree.Root()}.Marshal()
}

// logSigner is the sequencer's own, by way of the text form of its key.
func logSigner(b testing.TB, origin string) note.Signer {
	public := append([]byte{1}, logKey.Public().(ed25519.PublicKey)...)
	h := sha256.Sum256(append([]byte(origin+"\n"), public...))
	private := append([]byte{1}, logKey.Seed()...)
	signer, err := note.NewSigner(fmt.Sprintf("PRIVATE+KEY+%s+%x+%s", origin, h[:4], base64.StdEncoding.EncodeToString(private)))
	require.NoError(b, err)
	return signer
}

// open is the log of a folder.
func openLog(b testing.TB, dir string, alone bool) *bench {
	st, err := store.Open(dir)
	require.NoError(b, err)
	b.Cleanup(func() { st.Close() })
	bench := &bench{t: b, alone: alone, now: start}
	c := bench.config()
	c.Store = st.Log
	bench.Sequencer, err = sequencer.New(ctx, c)
	require.NoError(b, err)
	return bench
}
