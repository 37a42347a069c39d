package mls

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"flag"
	"fmt"
	"math/bits"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var huge = flag.Bool("huge", false, "benchmarks at 10000 members, too")

func sizes() []int {
	if *huge {
		return []int{2, 10, 100, 1000, 10000}
	}
	return []int{2, 10, 100, 1000}
}

// fullGroup is a group of n in which everybody has committed once, so that no parent node is blank, as the first and the last
// member see it. Playing all the commits would take n members n commits each; here the tree is made directly.
func fullGroup(t testing.TB, n int) (first, last *party) { return directGroup(t, n, n) }

// freshGroup is one in which nobody has, so that all parent nodes are blank.
func freshGroup(t testing.TB, n int) (first, last *party) { return directGroup(t, n, 0) }

// directGroup is one of n of whom the first so many have committed once.
func directGroup(t testing.TB, n, committed int) (first, last *party) {
	cs := X25519AES128GCMSHA256Ed25519
	s := suites[cs]
	parties := make([]*party, n)
	keys := map[leafIndex]privateKeys{0: {}, leafIndex(n - 1): {}}
	var tree *ratchetTree
	for i := range parties {
		p := newPartyOf(t, cs, fmt.Sprint("member", i))
		parties[i] = p
		kp := p.keyPackage()
		leaf := kp.public.Leaf
		if mine, ok := keys[leafIndex(i)]; ok {
			mine[leafIndex(i).node()] = kp.leafPriv
		}
		if i == 0 {
			tree = newTree(s, &leaf)
		} else {
			_, err := tree.add(&leaf)
			require.NoError(t, err)
		}
	}
	groupID := []byte("group")
	first, last = parties[0], parties[n-1]
	for i, p := range parties[:committed] {
		path, err := tree.makePath(rand.Reader, leafIndex(i), *tree.leaf(leafIndex(i)), p.signer, groupID)
		require.NoError(t, err)
		for own, mine := range keys {
			for x, key := range path.private {
				if x.covers(own) {
					mine[x] = key
				}
			}
		}
	}
	secret := make([]byte, s.nh)
	for own, mine := range keys {
		mine.keep(tree)
		g := &Group{
			suite: s, tree: tree.clone(), own: own, signer: parties[own].signer, private: mine, interim: make([]byte, s.nh),
			context: groupContext{suite: cs, groupID: groupID, epoch: 7, treeHash: tree.treeHash(), confirmed: make([]byte, s.nh)},
		}
		g.startEpoch(s.fromEpochSecret(secret))
		parties[own].g = g
	}
	return first, last
}

// costs are those of the primitives of suite 1 on this machine, measured in the same run: what an operation must at least take.
type costs struct{ seal, open, derive, sign, verify, aead, expand time.Duration }

var measured = sync.OnceValue(func() (c costs) {
	s := suites[X25519AES128GCMSHA256Ed25519]
	secret := make([]byte, s.nh)
	public, private := s.deriveKeyPair(secret)
	key, err := GenerateSignatureKey(s.id, rand.Reader)
	if err != nil {
		panic(err)
	}
	content := make([]byte, 300)
	signature := key.signWithLabel("x", content)
	ct, err := s.sealWithLabel(rand.Reader, public, "x", content, secret)
	if err != nil {
		panic(err)
	}
	c.seal = best(func() { _, _ = s.sealWithLabel(rand.Reader, public, "x", content, secret) })
	c.open = best(func() { _, _ = s.openWithLabel(private, "x", content, ct) })
	c.derive = best(func() { s.deriveKeyPair(secret) })
	c.sign = best(func() { key.signWithLabel("x", content) })
	c.verify = best(func() { s.verifyWithLabel(key.Public(), "x", content, signature) })
	c.aead = best(func() {
		_, _ = s.sealMessage(messageKey{make([]byte, s.nk), make([]byte, s.nn)}, nil, make([]byte, 1024))
	})
	c.expand = best(func() { s.deriveTreeSecret(secret, "secret", 1, s.nh) })
	return c
})

// best of several rounds, for one call.
func best(f func()) time.Duration {
	least := time.Hour
	for range 10 {
		const n = 50
		start := time.Now()
		for range n {
			f()
		}
		least = min(least, time.Since(start)/n)
	}
	return least
}

// digests are what the signature, the membership tag and the transcript hash of a message of that many bytes.
func digests(size int) time.Duration {
	content := make([]byte, size)
	return best(func() {
		sha512.Sum512(content)
		sha256.Sum256(content)
		sha256.Sum256(content)
	})
}

// levels of a full tree above a leaf.
func levels(n int) time.Duration { return time.Duration(bits.Len(uint(n - 1))) }

// batched is what n verifications take together, measured like the others.
func batched(n int) time.Duration {
	if n < batchFrom {
		return time.Duration(n) * measured().verify
	}
	key, err := GenerateSignatureKey(X25519AES128GCMSHA256Ed25519, rand.Reader)
	if err != nil {
		panic(err)
	}
	v := suites[X25519AES128GCMSHA256Ed25519].signatures()
	for i := range n {
		content := binary.BigEndian.AppendUint64(make([]byte, 300), uint64(i))
		v.add(key.Public(), "x", content, key.signWithLabel("x", content), ErrDecrypt)
	}
	least := time.Hour
	for range 3 {
		start := time.Now()
		if v.check() != nil {
			panic("a batch of good signatures does not verify")
		}
		least = min(least, time.Since(start))
	}
	return least
}

// eachSize runs a benchmark in a full tree of each size and reports, beside the time, its floor and how many times the floor it is.
func eachSize(b *testing.B, floor func(c costs, n int) time.Duration, f func(b *testing.B, l *laps, first, last *party)) {
	eachTree(b, fullGroup, floor, f)
}

func eachTree(b *testing.B, group func(testing.TB, int) (first, last *party), floor func(c costs, n int) time.Duration, f func(b *testing.B, l *laps, first, last *party)) {
	for _, n := range sizes() {
		least := floor(measured(), n)
		b.Run(fmt.Sprint("n=", n), func(b *testing.B) {
			first, last := group(b, n)
			var l laps
			b.ResetTimer()
			f(b, &l, first, last)
			l.report(b, least)
		})
	}
}

// laps finds the best round of an operation, as best does for the primitives: what else the machine does at the time is in neither.
type laps struct {
	began         time.Time
	sum, n, least time.Duration
}

func (l *laps) start() { l.began = time.Now() }

func (l *laps) stop() {
	l.sum += time.Since(l.began)
	if l.n++; l.sum < time.Millisecond {
		return
	}
	if round := l.sum / l.n; l.least == 0 || round < l.least {
		l.least = round
	}
	l.sum, l.n = 0, 0
}

func (l *laps) report(b *testing.B, floor time.Duration) {
	if floor > 0 && l.least > 0 {
		b.ReportMetric(float64(l.least.Nanoseconds())/1000, "best-µs")
		b.ReportMetric(float64(floor.Nanoseconds())/1000, "floor-µs")
		b.ReportMetric(float64(l.least)/float64(floor), "x-floor")
	}
}

func BenchmarkUpdateCreate(b *testing.B) {
	eachSize(b, func(c costs, n int) time.Duration { return levels(n)*c.seal + (levels(n)+1)*c.derive + 2*c.sign }, benchmarkUpdate)
}

// BenchmarkUpdateCreateFresh encrypts to everybody by themselves.
func BenchmarkUpdateCreateFresh(b *testing.B) {
	eachTree(b, freshGroup, func(c costs, n int) time.Duration {
		return time.Duration(n-1)*c.seal + (levels(n)+1)*c.derive + 2*c.sign
	}, benchmarkUpdate)
}

func benchmarkUpdate(b *testing.B, l *laps, first, _ *party) {
	for b.Loop() {
		l.start()
		_, err := first.g.Commit(rand.Reader, CommitParams{Now: testNow})
		l.stop()
		require.NoError(b, err)
		first.g.DropPending()
	}
}

func BenchmarkUpdateProcess(b *testing.B) {
	benchmarkUpdateProcess(b, fullGroup, func(n int) int { return bits.Len(uint(n - 1)) })
}

// BenchmarkUpdateProcessFresh reads a message that has a ciphertext for everybody.
func BenchmarkUpdateProcessFresh(b *testing.B) {
	benchmarkUpdateProcess(b, freshGroup, func(n int) int { return n - 1 })
}

func benchmarkUpdateProcess(b *testing.B, group func(testing.TB, int) (first, last *party), ciphertexts func(n int) int) {
	const size = 83 // of one
	eachTree(b, group, func(c costs, n int) time.Duration {
		return 2*c.verify + c.open + c.derive + digests(size*ciphertexts(n))
	}, func(b *testing.B, l *laps, first, last *party) {
		benchmarkProcess(b, l, first, last, CommitParams{Now: testNow, Framing: WirePublicMessage})
	})
}

func BenchmarkAddProcess(b *testing.B) {
	eachSize(b, func(c costs, n int) time.Duration { return 3 * c.verify }, func(b *testing.B, l *laps, first, last *party) {
		kp := newParty(b, "newcomer").keyPackage().KeyPackage()
		benchmarkProcess(b, l, first, last, CommitParams{Proposals: []Proposal{AddProposal(kp)}, Now: testNow, Framing: WirePublicMessage})
	})
}

// benchmarkProcess has last stage the same commit of first again and again.
func benchmarkProcess(b *testing.B, l *laps, first, last *party, params CommitParams) {
	p, err := first.g.Commit(rand.Reader, params)
	require.NoError(b, err)
	m := parsed(b, p.Message())
	b.ResetTimer()
	for b.Loop() {
		l.start()
		_, err := last.g.Process(m, testNow)
		l.stop()
		require.NoError(b, err)
	}
}

// BenchmarkAddCreate adds one member; the tree travels outside the Welcome.
func BenchmarkAddCreate(b *testing.B) { benchmarkAdd(b, true) }

// BenchmarkAddCreateTreeInside is that with the tree in the Welcome.
func BenchmarkAddCreateTreeInside(b *testing.B) { benchmarkAdd(b, false) }

func benchmarkAdd(b *testing.B, treeOutside bool) {
	eachSize(b, func(c costs, n int) time.Duration { return c.seal + 2*c.sign + 2*c.verify }, func(b *testing.B, l *laps, first, _ *party) {
		kp := newParty(b, "newcomer").keyPackage().KeyPackage()
		for b.Loop() {
			l.start()
			_, err := first.g.Commit(rand.Reader, CommitParams{Proposals: []Proposal{AddProposal(kp)}, Now: testNow, TreeOutside: treeOutside})
			l.stop()
			require.NoError(b, err)
			first.g.DropPending()
		}
	})
}

func BenchmarkRemoveCreate(b *testing.B) {
	eachSize(b, func(c costs, n int) time.Duration { return (2*levels(n)-2)*c.seal + levels(n)*c.derive + 2*c.sign }, func(b *testing.B, l *laps, first, last *party) {
		for b.Loop() {
			l.start()
			_, err := first.g.Commit(rand.Reader, CommitParams{Proposals: []Proposal{RemoveProposal(leafOf(last))}, Now: testNow})
			l.stop()
			require.NoError(b, err)
			first.g.DropPending()
		}
	})
}

func BenchmarkJoin(b *testing.B) { benchmarkJoin(b, fullGroup) }

func BenchmarkJoinFresh(b *testing.B) { benchmarkJoin(b, freshGroup) }

func benchmarkJoin(b *testing.B, group func(testing.TB, int) (first, last *party)) {
	eachTree(b, group, func(c costs, n int) time.Duration { return batched(n+1) + c.verify + c.open }, func(b *testing.B, l *laps, first, _ *party) {
		newcomer := newParty(b, "newcomer")
		kp := newcomer.keyPackage()
		p, err := first.g.Commit(rand.Reader, CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}, Now: testNow})
		require.NoError(b, err)
		welcome := parsed(b, p.Welcome())
		b.ResetTimer()
		for b.Loop() {
			l.start()
			_, err := JoinWelcome(welcome, JoinParams{KeyPackage: kp, Signer: newcomer.signer})
			l.stop()
			require.NoError(b, err)
		}
	})
}

// BenchmarkCreate makes a group and adds everybody in one commit; the tree travels outside the Welcome.
func BenchmarkCreate(b *testing.B) { benchmarkCreate(b, true) }

// BenchmarkCreateTreeInside is that with the tree in the Welcome.
func BenchmarkCreateTreeInside(b *testing.B) { benchmarkCreate(b, false) }

func benchmarkCreate(b *testing.B, treeOutside bool) {
	for _, n := range sizes() {
		c := measured()
		least := batched(2*(n-1)) + time.Duration(n-1)*c.seal + c.derive + 2*c.sign
		b.Run(fmt.Sprint("n=", n), func(b *testing.B) {
			alice := newParty(b, "alice")
			proposals := make([]Proposal, n-1)
			for i := range proposals {
				proposals[i] = AddProposal(newParty(b, fmt.Sprint("member", i)).keyPackage().KeyPackage())
			}
			var l laps
			b.ResetTimer()
			for b.Loop() {
				l.start()
				alice.create()
				_, err := alice.g.Commit(rand.Reader, CommitParams{Proposals: proposals, Now: testNow, TreeOutside: treeOutside})
				l.stop()
				require.NoError(b, err)
			}
			l.report(b, least)
		})
	}
}

func BenchmarkEncrypt(b *testing.B) {
	eachSize(b, func(c costs, n int) time.Duration { return c.sign + 2*c.aead + 5*c.expand }, func(b *testing.B, l *laps, first, _ *party) {
		data := make([]byte, 1024)
		for b.Loop() {
			l.start()
			_, err := first.g.Encrypt(rand.Reader, data, nil, nil)
			l.stop()
			require.NoError(b, err)
		}
	})
}

func BenchmarkDecrypt(b *testing.B) {
	eachSize(b, func(c costs, n int) time.Duration { return c.verify + 2*c.aead + 5*c.expand }, func(b *testing.B, l *laps, first, last *party) {
		data := make([]byte, 1024)
		for b.Loop() {
			b.StopTimer()
			raw, err := first.g.Encrypt(rand.Reader, data, nil, nil)
			require.NoError(b, err)
			m := parsed(b, raw)
			b.StartTimer()
			l.start()
			_, err = last.g.Process(m, testNow)
			l.stop()
			require.NoError(b, err)
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	eachSize(b, func(costs, int) time.Duration { return 0 }, func(b *testing.B, l *laps, first, _ *party) {
		list := first.g.Changes(nil)
		b.ResetTimer()
		for b.Loop() {
			_, err := LoadGroup(list)
			require.NoError(b, err)
		}
		b.ReportMetric(float64(size(list)), "bytes")
	})
}

// BenchmarkForgedDecrypt is the most that a forged message can cost: its generation is as far ahead as the limit allows.
func BenchmarkForgedDecrypt(b *testing.B) {
	first, last := fullGroup(b, 10)
	raw := forgePrivate(b, first, ContentApplication, senderData{leaf: 1, generation: maxForward})
	m := parsed(b, raw)
	for b.Loop() {
		_, err := last.g.Process(m, testNow)
		require.ErrorIs(b, err, ErrDecrypt)
	}
}

// BenchmarkSaveWhole is what saving would take if it wrote the whole group each time.
func BenchmarkSaveWhole(b *testing.B) {
	eachSize(b, func(costs, int) time.Duration { return 0 }, func(b *testing.B, l *laps, first, _ *party) {
		saved := 0
		for b.Loop() {
			saved = size(first.g.Changes(nil))
		}
		b.ReportMetric(float64(saved), "bytes")
	})
}

func size(list []Record) (bytes int) {
	for _, x := range list {
		bytes += len(x.Key) + len(x.Value)
	}
	return bytes
}

// benchmarkSave reports what it takes to find out what a step has changed. step is not measured.
func benchmarkSave(b *testing.B, g *Group, step func()) {
	least, most, count := 1<<62, 0, 0
	saved := g.Clone()
	for b.Loop() {
		b.StopTimer()
		step()
		b.StartTimer()
		changes := g.Changes(saved)
		saved = g.Clone()
		b.StopTimer()
		least, most, count = min(least, size(changes)), max(most, size(changes)), max(count, len(changes))
		b.StartTimer()
	}
	b.ReportMetric(float64(least), "bytes")
	b.ReportMetric(float64(most), "most-bytes")
	b.ReportMetric(float64(count), "most-records")
}

// BenchmarkSaveSent saves after a message of ours; the first one of an epoch is the most.
func BenchmarkSaveSent(b *testing.B) {
	eachSize(b, func(costs, int) time.Duration { return 0 }, func(b *testing.B, l *laps, first, _ *party) {
		benchmarkSave(b, first.g, func() { first.encryptLive(b) })
	})
}

// BenchmarkSaveReceived saves after a message of another.
func BenchmarkSaveReceived(b *testing.B) {
	eachSize(b, func(costs, int) time.Duration { return 0 }, func(b *testing.B, _ *laps, first, last *party) {
		benchmarkSave(b, last.g, func() {
			_, err := last.g.Process(parsed(b, first.encryptLive(b)), testNow)
			require.NoError(b, err)
		})
	})
}

// BenchmarkSavePending saves a commit that was made and not ordered yet.
func BenchmarkSavePending(b *testing.B) {
	eachSize(b, func(costs, int) time.Duration { return 0 }, func(b *testing.B, l *laps, first, _ *party) {
		benchmarkSave(b, first.g, func() {
			first.g.DropPending()
			_, err := first.g.Commit(rand.Reader, CommitParams{Now: testNow})
			require.NoError(b, err)
		})
	})
}

// BenchmarkSaveCommitted saves after a commit of ours, from making to ordering.
func BenchmarkSaveCommitted(b *testing.B) {
	eachSize(b, func(costs, int) time.Duration { return 0 }, func(b *testing.B, l *laps, first, _ *party) {
		benchmarkSave(b, first.g, func() {
			_, err := first.g.Commit(rand.Reader, CommitParams{Now: testNow})
			require.NoError(b, err)
			require.NoError(b, first.g.ConfirmPending())
		})
	})
}

// BenchmarkSaveApplied saves after the commit of another.
func BenchmarkSaveApplied(b *testing.B) {
	eachSize(b, func(costs, int) time.Duration { return 0 }, func(b *testing.B, _ *laps, first, last *party) {
		benchmarkSave(b, last.g, func() {
			p, err := first.g.Commit(rand.Reader, CommitParams{Now: testNow})
			require.NoError(b, err)
			got, err := last.g.Process(parsed(b, p.Message()), testNow)
			require.NoError(b, err)
			require.NoError(b, last.g.Apply(got.(*StagedCommit)))
			require.NoError(b, first.g.ConfirmPending())
		})
	})
}

func BenchmarkClone(b *testing.B) {
	eachSize(b, func(costs, int) time.Duration { return 0 }, func(b *testing.B, l *laps, first, _ *party) {
		for b.Loop() {
			first.g.Clone()
		}
	})
}
