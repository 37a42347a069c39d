package sequencer_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
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

var huge = flag.Bool("huge", false, "benchmarks of a log with a million labels, too")

// Benchmarks run on the store that a sidecar has. Where there is a figure to compare with, it stands beside the one that was measured.
const (
	wantAnswer = 2300  // bytes, with three cosignatures, at 100 000 labels
	wantVerify = 950   // microseconds
	wantOne    = 2231  // durable inserts a second, one at a time
	want16     = 9900  // of 16 callers
	want256    = 12900 // of 256
	wantStart  = 1000  // milliseconds, 100 000 labels
	wantMemory = 50    // MB
	wantAudit  = 20    // seconds, 100 000 entries with signatures
	coldEnv    = "WAXWING_BENCH_COLD_START"
	entries    = 100000 // of the log that most is measured on
)

// TestMain is another process that opens a log, if it is told so.
func TestMain(m *testing.M) {
	if life, dir, ok := strings.Cut(os.Getenv(crashEnv), " "); ok {
		crash(must(strconv.Atoi(life)), dir)
		return
	}
	if dir := os.Getenv(coldEnv); dir != "" {
		coldStart(dir)
		return
	}
	code := m.Run()
	for _, dir := range filled {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

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
			row, entry := somebody(size, &tree)
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
func somebody(i int, tree *prefixtree.Tree) (sequencer.Row, []byte) {
	row := sequencer.Row{Label: sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i))), Index: int64(i), Opening: [32]byte{byte(i)}}
	list := keydir.DeviceList{Actor: fmt.Sprintf("https://a.example/users/number%d", i), Devices: make([]keydir.Device, 2)}
	list.Devices[1].SignatureKey[0] = 1
	row.Content = list.Marshal()
	s := transparency.Statement{Kind: first, Time: uint64(start.UnixMilli()), Label: row.Label, Commitment: transparency.Commit(row.Opening, row.Content)}
	s.Sign(account(1), nil)
	row.Value = s.MapValue()
	*tree = tree.Put(row.Label, row.Value)
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

// cpu is what this process has computed, however many others share the machine.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func compare(b *testing.B, got float64, unit string, reference float64) {
	b.ReportMetric(got, unit)
	b.ReportMetric(reference, "reference-"+unit)
}

func sizesOf() []int {
	if *huge {
		return []int{1000, 100_000, 1_000_000}
	}
	return []int{1000, 100_000}
}

// withThree has a log whose checkpoint three witnesses have signed, and people in it that can be looked up.
func withThree(b *testing.B, labels int) (l *bench, people []string) {
	l = openLog(b, filledStore(b, labels), false)
	for i := range 200 {
		people = append(people, fmt.Sprintf("https://a.example/users/person%d", i))
		l.appended(l.first(people[i]))
	}
	_, checkpoint := l.Unwitnessed()
	checkpoint = bytes.Clone(checkpoint)
	for i := range 3 {
		line := cosignature(fmt.Sprintf("witness%d.example", i))
		require.InDelta(b, 130, len(line), 6)
		checkpoint = append(checkpoint, line...)
	}
	require.NoError(b, l.Witnessed(ctx, checkpoint))
	return l, people
}

func BenchmarkAnswer(b *testing.B) {
	for _, labels := range sizesOf() {
		l, people := withThree(b, labels)
		for name, suffix := range map[string]string{"present": "", "absent": "x"} {
			b.Run(fmt.Sprintf("%d/%s", labels, name), func(b *testing.B) {
				var sizes []int
				for i := range people {
					a, err := l.Answer(ctx, people[i]+suffix, 0)
					require.NoError(b, err)
					require.Equal(b, suffix == "", a.Found != nil)
					n := len(a.Marshal())
					if a.Found != nil {
						n -= len(a.Found.Content) // as the reference counts
					}
					sizes = append(sizes, n)
				}
				slices.Sort(sizes)
				i := 0
				for b.Loop() {
					a, err := l.Answer(ctx, people[i%len(people)]+suffix, 0)
					if err != nil || len(a.Marshal()) == 0 {
						b.Fatal(err)
					}
					i++
				}
				compare(b, float64(sizes[len(sizes)/2]), "bytes-p50", wantAnswer)
				b.ReportMetric(float64(sizes[len(sizes)-1]), "bytes-max")
			})
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, labels := range sizesOf() {
		l, people := withThree(b, labels)
		for name, suffix := range map[string]string{"present": "", "absent": "x"} {
			b.Run(fmt.Sprintf("%d/%s", labels, name), func(b *testing.B) {
				log := l.reader().log
				a := must(l.Answer(ctx, people[0]+suffix, 0))
				raw := a.Marshal()
				began := cpu()
				for b.Loop() {
					a, err := transparency.ParseAnswer(raw)
					if err == nil {
						_, _, _, err = keydir.Verify(log, nil, people[0]+suffix, a, transparency.Terms{Now: 1})
					}
					if err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64((cpu()-began).Microseconds())/float64(b.N), "µs-cpu")
				compare(b, float64(b.Elapsed().Microseconds())/float64(b.N), "µs", wantVerify)
			})
		}
	}
}

// BenchmarkInsert is of first lists. They are signed before the clock runs, for which the log has been asked for the label: so it has
// it at hand, as when somebody publishes who has looked themselves up.
func BenchmarkInsert(b *testing.B) {
	for _, labels := range sizesOf() {
		for _, c := range []struct {
			callers   int
			reference float64
		}{{1, wantOne}, {16, want16}, {256, want256}} {
			b.Run(fmt.Sprintf("%d/callers=%d", labels, c.callers), func(b *testing.B) {
				l := openLog(b, filledStore(b, labels), true)
				var all []sequencer.Submission
				for i := range b.N {
					all = append(all, l.first(fmt.Sprintf("https://a.example/users/inserted%d", i)).submission())
				}
				began := cpu()
				b.ResetTimer()
				insert(b, l, all, c.callers)
				b.ReportMetric(float64((cpu()-began).Microseconds())/float64(b.N), "µs-cpu")
				compare(b, float64(b.N)/b.Elapsed().Seconds(), "inserts/s", c.reference)
			})
		}
	}
}

func insert(b *testing.B, l *bench, all []sequencer.Submission, callers int) {
	work := make(chan sequencer.Submission, len(all))
	for _, s := range all {
		work <- s
	}
	close(work)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for s := range work {
				if _, err := l.Append(ctx, s); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkUpdate is of lists that replace others, of which the store then forgets the old ones.
func BenchmarkUpdate(b *testing.B) {
	for _, callers := range []int{1, 256} {
		b.Run(fmt.Sprintf("%d/callers=%d", entries, callers), func(b *testing.B) {
			l := openLog(b, filledStore(b, entries), true)
			var all []sequencer.Submission
			for i := range b.N {
				one := l.first(fmt.Sprintf("https://a.example/users/updated%d", i))
				all = append(all, one.submission())
			}
			insert(b, l, all, 256)
			for i := range all {
				s := must(transparency.ParseStatement(all[i].Statement))
				all[i] = l.says(update, all[i].Actor, &said{Statement: s}, 1, 3).submission()
			}
			b.ResetTimer()
			insert(b, l, all, callers)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
		})
	}
}

func coldStart(dir string) {
	began := time.Now()
	st := must(store.Open(dir))
	opened := time.Since(began)
	c := (&bench{now: start, alone: true}).config()
	c.Store = st.Log
	must(sequencer.New(ctx, c))
	fmt.Printf("opened %d total %d ", opened.Milliseconds(), time.Since(began).Milliseconds())
	status := string(must(os.ReadFile("/proc/self/status")))
	fmt.Printf("resident %s\n", regexp.MustCompile(`VmRSS:\s+(\d+)`).FindStringSubmatch(status)[1])
}

// BenchmarkColdStart is a process that opens the store and the log in it.
func BenchmarkColdStart(b *testing.B) {
	for _, labels := range sizesOf() {
		b.Run(fmt.Sprint(labels), func(b *testing.B) {
			dir := filledStore(b, labels)
			var total, opened, resident, computed float64
			for b.Loop() {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), coldEnv+"="+dir)
				out, err := cmd.Output()
				require.NoError(b, err)
				computed += float64((cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Milliseconds())
				f := strings.Fields(string(out))
				number := func(i int) float64 { return float64(must(strconv.Atoi(f[i]))) }
				opened, total, resident = opened+number(1), total+number(3), resident+number(5)/1024
			}
			n := float64(b.N)
			b.ReportMetric(opened/n, "ms-of-it-SQLite")
			b.ReportMetric(computed/n, "ms-cpu")
			compare(b, total/n, "ms-start", wantStart)
			compare(b, resident/n, "MB-resident", wantMemory)
		})
	}
}

// BenchmarkAudit replays a log from its entries alone.
func BenchmarkAudit(b *testing.B) {
	st, err := store.Open(filledStore(b, entries))
	require.NoError(b, err)
	defer st.Close()
	key := labels.Public().Bytes()
	v := must(note.NewVerifier(must(note.NewEd25519VerifierKey(transparency.Origin(host, key[:]), logKey.Public().(ed25519.PublicKey)))))
	h, err := st.Log.Head(ctx)
	require.NoError(b, err)
	want, err := transparency.OpenCheckpoint(h.Checkpoint, v)
	require.NoError(b, err)
	began := cpu()
	for b.Loop() {
		var r transparency.Replay
		for r.Size() < h.Size {
			entries, err := st.Log.Entries(ctx, r.Size(), min(256, h.Size-r.Size()))
			require.NoError(b, err)
			for _, e := range entries {
				if err := r.Add(e); err != nil {
					b.Fatal(err)
				}
			}
		}
		require.Equal(b, want.Root, r.Root())
	}
	compare(b, b.Elapsed().Seconds()/float64(b.N), "s-100k", wantAudit)
	b.ReportMetric((cpu()-began).Seconds()/float64(b.N), "s-cpu")
	b.ReportMetric(float64(h.Size*transparency.EntrySize)/1e6, "MB-read")
}
