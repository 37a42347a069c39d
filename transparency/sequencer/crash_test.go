package sequencer_test

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/sidecar/store"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

var kills = flag.Int("kills", 60, "how often TestKill kills a process that writes to a log")

const crashEnv = "WAXWING_CRASH_LIFE" // number of the life, and the folder

// TestKill ends a process that writes to a log with kill -9, again and again, always on the same store, in the middle of whatever it
// does. What it had said was durable must be there, in its place, and the log be one that anybody finds in order. That a commit has
// reached the disk and not only the kernel is what synchronous=FULL is for, and cannot be seen here.
func TestKill(t *testing.T) {
	if testing.Short() {
		*kills = 10
	}
	dir := t.TempDir()
	w := witnesses{t: t, acknowledged: map[int64]string{}, roots: map[int64]tlog.Hash{}}
	for life := range *kills {
		w.live(dir, life)
		if life%100 == 99 {
			w.verify(dir)
		}
	}
	w.verify(dir)
	require.NotEmpty(t, w.acknowledged)
	t.Logf("%d processes killed, %d entries acknowledged, %d checkpoints seen", *kills, len(w.acknowledged), len(w.roots))
}

// crash is the process: it writes from four goroutines until it is killed, and tells what was acknowledged. Every other life has
// witnesses.
func crash(life int, dir string) {
	st := must(store.Open(dir))
	b := &bench{now: start, alone: life%2 == 0}
	c := b.config()
	c.Store = st.Log
	b.Sequencer = must(sequencer.New(ctx, c))
	for g := range 4 {
		go func() {
			for n := 0; ; n++ {
				b.biography(fmt.Sprintf("https://a.example/users/%d-%d-%d", life, g, n))
			}
		}()
	}
	for {
		_, changed := b.Served()
		_, checkpoint := b.Unwitnessed()
		saw(checkpoint)
		if !b.alone {
			checkpoint = cosigned(checkpoint)
			if err := b.Witnessed(ctx, checkpoint); err != nil {
				panic(err)
			}
		}
		saw(must(b.Checkpoint()))
		<-changed
	}
}

// biography of somebody who changes their list, and in some lives is erased.
func (b *bench) biography(actor string) {
	s := b.first(actor)
	acknowledged(s, must(b.append(s)))
	s = b.says(update, actor, &s, 1, 3)
	acknowledged(s, must(b.append(s)))
	if rand.IntN(4) > 0 {
		return
	}
	if err := b.Erase(ctx, actor); err != nil {
		panic(err)
	}
}

// One line is one write to a pipe, so it is there whole or not at all.
func acknowledged(s said, index int64) { fmt.Printf("entry %d %x/%d\n", index, s.Label, s.Seq) }

func saw(checkpoint []byte) {
	fmt.Printf("checkpoint %s\n", base64.StdEncoding.EncodeToString(checkpoint))
}

// witnesses remember what the processes said before they were killed.
type witnesses struct {
	t            *testing.T
	acknowledged map[int64]string // label and seq, by index
	roots        map[int64]tlog.Hash
}

// live kills one process: 1 to 60 ms after it has acknowledged something, or at any time from its start, while it repairs what the one
// before it left.
func (w witnesses) live(dir string, life int) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", crashEnv, life, dir))
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	require.NoError(w.t, err)
	require.NoError(w.t, cmd.Start())
	kill := func(from, to time.Duration) {
		time.AfterFunc(from+rand.N(to-from), func() { _ = cmd.Process.Kill() })
	}
	waiting := life%4 != 3
	if !waiting {
		kill(0, 100*time.Millisecond)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if w.remember(lines.Text()) && waiting {
			waiting = false
			kill(time.Millisecond, 60*time.Millisecond)
		}
	}
	require.NoError(w.t, lines.Err())
	_ = cmd.Wait()
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(w.t, status.Signaled() && status.Signal() == syscall.SIGKILL, "life %d ended by itself: %s", life, &complaint)
}

// remember says whether an entry was acknowledged.
func (w witnesses) remember(line string) bool {
	f := strings.Fields(line)
	if f[0] == "entry" {
		index := int64(must(strconv.Atoi(f[1])))
		require.NotContains(w.t, w.acknowledged, index, "two entries were acknowledged at one place")
		w.acknowledged[index] = f[2]
		return true
	}
	c, err := transparency.OpenCheckpoint(must(base64.StdEncoding.DecodeString(f[1])), logVerifier())
	require.NoError(w.t, err)
	if root, ok := w.roots[c.Size]; ok {
		require.Equal(w.t, root, c.Root, "two checkpoints of %d entries", c.Size)
	}
	w.roots[c.Size] = c.Root
	return false
}

func logVerifier() note.Verifier {
	key := labels.Public().Bytes()
	return must(note.NewVerifier(must(note.NewEd25519VerifierKey(transparency.Origin(host, key[:]), logKey.Public().(ed25519.PublicKey)))))
}

// verify reads the log from its beginning as a stranger does, and then what is beside it.
func (w witnesses) verify(dir string) {
	st, err := store.Open(dir)
	require.NoError(w.t, err)
	defer st.Close()
	at, err := st.Log.Head(ctx)
	require.NoError(w.t, err)
	for _, signed := range [][]byte{at.Checkpoint, at.Witnessed} {
		w.remember("checkpoint " + base64.StdEncoding.EncodeToString(signed))
	}
	entries, err := st.Log.Entries(ctx, 0, at.Size)
	require.NoError(w.t, err)
	var replay transparency.Replay
	var edge transparency.CompactRange
	newest := map[[32]byte]int64{}
	for i, raw := range entries {
		index := int64(i)
		require.NoError(w.t, replay.Add(raw), "entry %d", i)
		if root, ok := w.roots[index+1]; ok {
			require.Equal(w.t, root, replay.Root(), "the checkpoint of %d entries is not that of the log", index+1)
		}
		e := must(transparency.ParseEntry(raw))
		if want, ok := w.acknowledged[index]; ok {
			require.Equal(w.t, want, fmt.Sprintf("%x/%d", e.Label, e.Seq), "entry %d", i)
		}
		newest[e.Label] = index
		edge = w.hashes(st, edge, raw)
	}
	for index := range w.acknowledged {
		require.Less(w.t, index, at.Size, "an acknowledged entry is not there")
	}
	for size := range w.roots {
		require.LessOrEqual(w.t, size, at.Size, "a signed checkpoint is ahead of the log")
	}
	w.contents(st, at, entries, newest)
}

// hashes holds what is stored of the tree against what one more entry completes.
func (w witnesses) hashes(st *store.Store, edge transparency.CompactRange, entry []byte) transparency.CompactRange {
	first := tlog.StoredHashIndex(0, edge.Size())
	edge, complete := edge.With(transparency.LeafHash(entry))
	var indexes []int64
	for i := range complete {
		indexes = append(indexes, first+int64(i))
	}
	stored, err := st.Log.Hashes(ctx, indexes)
	require.NoError(w.t, err)
	require.Equal(w.t, complete, stored)
	return edge
}

// contents opens the newest commitment of every label, and the log itself.
func (w witnesses) contents(st *store.Store, at sequencer.Heads, entries [][]byte, newest map[[32]byte]int64) {
	for _, index := range newest {
		e := must(transparency.ParseEntry(entries[index]))
		if e.Kind == pad {
			continue
		}
		raw, r, ok, err := st.Log.Row(ctx, index)
		require.NoError(w.t, err)
		require.True(w.t, ok)
		require.Equal(w.t, entries[index], raw)
		if e.Kind == erase {
			require.Empty(w.t, r.Content)
		} else {
			require.Equal(w.t, e.Commitment, transparency.Commit(r.Opening, r.Content))
		}
	}
	c := (&bench{now: start, alone: true}).config()
	c.Store = st.Log
	_, err := sequencer.New(ctx, c)
	require.NoError(w.t, err)
}
