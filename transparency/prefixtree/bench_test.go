package prefixtree_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/transparency/prefixtree"
)

// reference has the figures of a prototype, a tree that changes in place and writes one byte for each depth: bytes of a proof
// of presence and of absence, the time to put a label and append it to a log, the time to verify. The last two columns are
// goals. Zero is: not measured.
var reference = []struct {
	labels               int
	p50, max             float64 // of a presence
	absentP50, absentMax float64
	putMicros            float64
	verifyMicros         float64
	buildMillis          float64
	megabytes            float64
}{
	{1_000, 332, 431, 396, 495, 3.0, 0, 0, 0},
	{10_000, 464, 563, 495, 594, 5.0, 0, 0, 0},
	{100_000, 563, 695, 594, 726, 6.5, 3.4, 250, 30},
	{1_000_000, 662, 794, 726, 825, 17.9, 0, 0, 0},
}

// beside reports a figure and the reference's.
func beside(b *testing.B, unit string, got, ref float64) {
	b.ReportMetric(got, unit)
	if ref != 0 {
		b.ReportMetric(ref, unit+"-ref")
	}
}

func micros(b *testing.B) float64 { return float64(b.Elapsed().Nanoseconds()) / 1e3 / float64(b.N) }

// leaves are the first n names, sorted.
func leaves(n int) []prefixtree.Leaf {
	out := make([]prefixtree.Leaf, n)
	for i := range out {
		out[i] = prefixtree.Leaf{Label: name(i), Value: value(i)}
	}
	slices.SortFunc(out, func(a, b prefixtree.Leaf) int { return bytes.Compare(a.Label[:], b.Label[:]) })
	return out
}

func eachSize(b *testing.B, run func(b *testing.B, i int, tree prefixtree.Tree)) {
	for i, r := range reference {
		tree, err := prefixtree.Build(leaves(r.labels))
		require.NoError(b, err)
		b.Run(fmt.Sprint(r.labels), func(b *testing.B) { run(b, i, tree) })
	}
}

// BenchmarkPut lets the tree grow by a tenth and begins again.
func BenchmarkPut(b *testing.B) {
	eachSize(b, func(b *testing.B, i int, tree prefixtree.Tree) {
		n := tree.Len()
		more := make([]prefixtree.Leaf, n/10)
		for k := range more {
			more[k] = prefixtree.Leaf{Label: name(n + k), Value: value(k)}
		}
		var grown prefixtree.Tree
		b.ReportAllocs()
		b.ResetTimer()
		for k := range b.N {
			if k%len(more) == 0 {
				grown = tree
			}
			l := &more[k%len(more)]
			grown = grown.Put(l.Label, l.Value)
			if grown.Root() == tree.Root() {
				b.Fatal("the root did not change")
			}
		}
		beside(b, "us/put", micros(b), reference[i].putMicros)
	})
}

func BenchmarkProofSize(b *testing.B) {
	eachSize(b, func(b *testing.B, i int, tree prefixtree.Tree) {
		n := tree.Len()
		var there, absent []int
		for k := range 10_000 {
			there = append(there, len(tree.Prove(name(k*n/10_000)).Marshal()))
			absent = append(absent, len(tree.Prove(name(n+k)).Marshal()))
		}
		for range b.N {
			tree.Prove(name(0))
		}
		r := reference[i]
		slices.Sort(there)
		slices.Sort(absent)
		beside(b, "B/there-p50", float64(there[5000]), r.p50)
		beside(b, "B/there-max", float64(there[9999]), r.max)
		beside(b, "B/absent-p50", float64(absent[5000]), r.absentP50)
		beside(b, "B/absent-max", float64(absent[9999]), r.absentMax)
	})
}

// BenchmarkHash is the yardstick of the machine: what a node costs, of which a proof has about one for each doubling of the map.
func BenchmarkHash(b *testing.B) {
	var in [117]byte
	for range b.N {
		h := sha256.Sum256(in[:])
		in[0] = h[0]
	}
}

// BenchmarkVerify reads the bytes and checks them.
func BenchmarkVerify(b *testing.B) {
	eachSize(b, func(b *testing.B, i int, tree prefixtree.Tree) {
		const some = 1000
		root := tree.Root()
		var labels, values [some]array
		var proofs [some][]byte
		for k := range some {
			labels[k], values[k] = name(k), value(k)
			proofs[k] = tree.Prove(labels[k]).Marshal()
		}
		b.ReportAllocs()
		b.ResetTimer()
		for k := range b.N {
			p, err := prefixtree.ParseProof(proofs[k%some])
			if err != nil || p.Verify(root, labels[k%some], values[k%some]) != nil {
				b.Fatal("does not verify")
			}
		}
		beside(b, "us/verify", micros(b), reference[i].verifyMicros)
	})
}

func BenchmarkBuild(b *testing.B) {
	for _, r := range reference {
		all := leaves(r.labels)
		b.Run(fmt.Sprint(r.labels), func(b *testing.B) {
			for range b.N {
				tree, err := prefixtree.Build(all)
				require.NoError(b, err)
				require.Equal(b, r.labels, tree.Len())
			}
			beside(b, "ms/build", micros(b)/1e3, r.buildMillis)
		})
	}
}

// BenchmarkMemory is of one tree, and then of a second one that is ten puts further.
func BenchmarkMemory(b *testing.B) {
	for _, r := range reference {
		all := leaves(r.labels)
		b.Run(fmt.Sprint(r.labels), func(b *testing.B) {
			for range b.N {
				start := heap()
				tree, err := prefixtree.Build(all)
				require.NoError(b, err)
				alone := heap()
				next := tree
				for i := range 10 {
					next = next.Put(name(-1-i), value(i))
				}
				both := heap()
				beside(b, "MB/tree", float64(alone-start)/1e6, r.megabytes)
				b.ReportMetric(float64(both-alone)/10, "B/put-beside")
				runtime.KeepAlive(tree)
				runtime.KeepAlive(next)
			}
			runtime.KeepAlive(all)
		})
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
