package sequencer_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/sqlite"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

// How many durable inserts a second others do. Signal's are not durable.
var (
	signalInsert = reference{"signal-in-memory", 1569}
	pkdInsert    = reference{"pkd-go", 111}
)

// inserts are what is measured: callers at once, each waiting until its own is durable; how many make a round; and what is wanted.
var inserts = []struct {
	callers, round int
	limit          float64
}{{1, 200, 2000}, {16, 2000, 8000}, {256, 4096, 10000}}

// BenchmarkInsert is of first lists, from the submission's bytes to its being durable. They are signed while the clock stands, for
// which the log is asked for the label: so it has it at hand, as when somebody publishes who has looked themselves up.
func BenchmarkInsert(b *testing.B) {
	for _, labels := range sizesOf() {
		for _, c := range inserts {
			b.Run(fmt.Sprintf("%d/callers=%d", labels, c.callers), func(b *testing.B) {
				l := openLog(b, filledStore(b, labels), true)
				f := newFloor(b)
				var computed time.Duration
				for next := 0; b.Loop(); next += c.round {
					b.StopTimer()
					all := l.firsts("inserted", next, c.round)
					f.measure(b, all, c.callers)
					began := cpu()
					b.StartTimer()
					insert(b, l, all, c.callers)
					computed += cpu() - began
				}
				n := float64(b.N * c.round)
				b.ReportMetric(0, "ns/op") // of a round
				b.ReportMetric(float64(computed.Microseconds())/n, "µs-cpu")
				b.ReportMetric(f.rate(), "floor/s")
				rate(b, n/b.Elapsed().Seconds(), "inserts/s", reference{"limit", c.limit}, signalInsert, pkdInsert, reference{"floor", f.rate()})
			})
		}
	}
}

// BenchmarkUpdate is of lists that replace others, which the store then forgets.
func BenchmarkUpdate(b *testing.B) {
	for _, c := range inserts {
		b.Run(fmt.Sprintf("100000/callers=%d", c.callers), func(b *testing.B) {
			l := openLog(b, filledStore(b, 100_000), true)
			for next := 0; b.Loop(); next += c.round {
				b.StopTimer()
				all := l.firsts("updated", next, c.round)
				insert(b, l, all, 256)
				for i := range all {
					s := must(transparency.ParseStatement(all[i].Statement))
					all[i] = l.says(update, all[i].Actor, &said{Statement: s}, 1, 3).submission()
				}
				b.StartTimer()
				insert(b, l, all, c.callers)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(b.N*c.round)/b.Elapsed().Seconds(), "updates/s")
		})
	}
}

func (b *bench) firsts(name string, from, count int) (all []sequencer.Submission) {
	for i := range count {
		all = append(all, b.first(fmt.Sprintf("https://a.example/users/%s%d", name, from+i)).submission())
	}
	return all
}

func insert(b *testing.B, l *bench, all []sequencer.Submission, callers int) {
	each(callers, all, func(s sequencer.Submission) {
		if _, err := l.Append(ctx, s); err != nil {
			b.Error(err)
		}
	})
}

func each(callers int, all []sequencer.Submission, f func(sequencer.Submission)) {
	work := make(chan sequencer.Submission, len(all))
	for _, s := range all {
		work <- s
	}
	close(work)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for s := range work {
				f(s)
			}
		})
	}
	wg.Wait()
}

// floor is what no log can do without that checks and keeps what it acknowledges, measured between the rounds, so that both have the
// same neighbours on the machine: for one caller a bare transaction of one row in one table, for many the signatures of the
// statements, verified on all cores.
type floor struct {
	db    *sqlite.DB
	n     int
	spent time.Duration
}

func newFloor(b *testing.B) *floor {
	db, err := sqlite.Open(filepath.Join(b.TempDir(), "floor.db"), []string{"CREATE TABLE entry (idx INTEGER PRIMARY KEY, entry BLOB NOT NULL) STRICT"})
	require.NoError(b, err)
	b.Cleanup(func() { db.Close() })
	return &floor{db: db}
}

func (f *floor) measure(b *testing.B, all []sequencer.Submission, callers int) {
	began := time.Now()
	if callers > 1 {
		each(runtime.GOMAXPROCS(0), all, func(s sequencer.Submission) {
			if err := must(transparency.ParseStatement(s.Statement)).VerifySignature(nil); err != nil {
				b.Error(err)
			}
		})
	} else {
		for _, s := range all {
			require.NoError(b, f.db.Update(context.Background(), func(tx *sql.Tx) error {
				_, err := tx.Exec("INSERT INTO entry (entry) VALUES (?)", s.Statement)
				return err
			}))
		}
	}
	f.n, f.spent = f.n+len(all), f.spent+time.Since(began)
}

func (f *floor) rate() float64 { return float64(f.n) / f.spent.Seconds() }
