package sequencer_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/sidecar/store"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

// Benchmarks run on the store that a sidecar has. Beside a figure stands how many times better it is than others are: x-limit is what
// this project wants of itself, the rest are what was measured of logs that do the same.
const (
	maxAnswer      = 2300   // bytes, with three cosignatures, at 100 000 labels
	signalAnswer   = 106000 // Signal's key transparency
	keytransAnswer = 1900   // the least that the IETF's draft needs
	maxVerify      = 1200   // microseconds of computing, with three cosignatures
	maxStart       = 1000   // milliseconds, at 100 000 labels
	maxMemory      = 60     // MB, at 100 000 labels
	maxAudit       = 30     // seconds of computing, 100 000 entries
	coldEnv        = "WAXWING_BENCH_COLD_START"
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

// cpu is what this process has computed, however many others share the machine.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

type reference struct {
	name  string
	value float64
}

// costs reports something of which less is better, rate something of which more is.
func costs(b *testing.B, got float64, unit string, others ...reference) {
	b.ReportMetric(got, unit)
	for _, o := range others {
		b.ReportMetric(o.value/got, "x-"+o.name)
	}
}

func rate(b *testing.B, got float64, unit string, others ...reference) {
	b.ReportMetric(got, unit)
	for _, o := range others {
		b.ReportMetric(got/o.value, "x-"+o.name)
	}
}

// sizesOf leaves out a million if the run is to be short: with it, all benchmarks take five minutes.
func sizesOf() []int {
	if testing.Short() {
		return []int{1000, 100_000}
	}
	return []int{1000, 100_000, 1_000_000}
}

// withThree has a log whose checkpoint three witnesses have cosigned, the terms of a reader who wants two of them, and people in it
// that can be looked up.
func withThree(b *testing.B, labels int) (l *bench, terms transparency.Terms, people []string) {
	l = openLog(b, filledStore(b, labels), false)
	for i := range 200 {
		people = append(people, fmt.Sprintf("https://a.example/users/person%d", i))
		l.appended(l.first(people[i]))
	}
	_, checkpoint := l.Unwitnessed()
	policy := "group g 2 w0 w1 w2\nquorum g\n"
	for i := range 3 {
		w, err := transparency.NewEd25519Cosigner(fmt.Sprintf("witness%d.example", i), account(byte(210+i)))
		require.NoError(b, err)
		policy = fmt.Sprintf("witness w%d %s\n%s", i, w.Key(), policy)
		checkpoint = cosignedBy(b, checkpoint, w.At(start.Unix()))
	}
	require.NoError(b, l.Witnessed(ctx, checkpoint))
	p, err := transparency.ParsePolicy([]byte(policy))
	require.NoError(b, err)
	return l, transparency.Terms{Policy: p, Now: start.Unix()}, people
}

// cosignedBy adds a real cosignature.
func cosignedBy(b *testing.B, checkpoint []byte, by note.Signer) []byte {
	text, _, _ := bytes.Cut(checkpoint, []byte("\n\n"))
	signed, err := note.Sign(&note.Note{Text: string(text) + "\n"}, by)
	require.NoError(b, err)
	line := signed[len(text)+2:]
	require.InDelta(b, 130, len(line), 6)
	return append(bytes.Clone(checkpoint), line...)
}

func BenchmarkAnswer(b *testing.B) {
	for _, labels := range sizesOf() {
		l, _, people := withThree(b, labels)
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
				costs(b, float64(sizes[len(sizes)/2]), "bytes-p50", reference{"limit", maxAnswer}, reference{"signal", signalAnswer}, reference{"keytrans-least", keytransAnswer})
				b.ReportMetric(float64(sizes[len(sizes)-1]), "bytes-max")
			})
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, labels := range sizesOf() {
		l, terms, people := withThree(b, labels)
		for name, suffix := range map[string]string{"present": "", "absent": "x"} {
			b.Run(fmt.Sprintf("%d/%s", labels, name), func(b *testing.B) {
				log := l.reader().log
				a := must(l.Answer(ctx, people[0]+suffix, 0))
				raw := a.Marshal()
				var found transparency.Finding
				began := cpu()
				for b.Loop() {
					a, err := transparency.ParseAnswer(raw)
					if err == nil {
						_, _, found, err = keydir.Verify(log, nil, people[0]+suffix, a, terms)
					}
					if err != nil || len(found.Witnessed.Cosigned) != 3 {
						b.Fatal(err, found.Witnessed)
					}
				}
				costs(b, float64((cpu()-began).Microseconds())/float64(b.N), "µs-cpu", reference{"limit", maxVerify})
			})
		}
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
			scale := max(1, float64(labels)/100_000)
			costs(b, resident/n, "MB-resident", reference{"limit-MB", maxMemory * scale})
			costs(b, total/n, "ms-start", reference{"limit-ms", maxStart * scale})
		})
	}
}

// BenchmarkAudit replays a log from its entries alone, every signature and every root.
func BenchmarkAudit(b *testing.B) {
	for _, labels := range sizesOf() {
		b.Run(fmt.Sprint(labels), func(b *testing.B) {
			st, err := store.Open(filledStore(b, labels))
			require.NoError(b, err)
			defer st.Close()
			at, err := st.Log.Head(ctx)
			require.NoError(b, err)
			want, err := transparency.OpenCheckpoint(at.Checkpoint, logVerifier())
			require.NoError(b, err)
			began := cpu()
			for b.Loop() {
				require.Equal(b, want.Root, replayAll(b, st.Log, at.Size))
			}
			costs(b, (cpu()-began).Seconds()/float64(b.N), "s-cpu", reference{"limit", maxAudit * float64(labels) / 100_000})
			b.ReportMetric(float64(at.Size*transparency.EntrySize)/1e6, "MB-read")
		})
	}
}

func replayAll(b *testing.B, log sequencer.Store, size int64) tlog.Hash {
	var r transparency.Replay
	for r.Size() < size {
		entries, err := log.Entries(ctx, r.Size(), min(256, size-r.Size()))
		require.NoError(b, err)
		for _, e := range entries {
			if err := r.Add(e); err != nil {
				b.Fatal(err)
			}
		}
	}
	return r.Root()
}
