package witness_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/witness"
	"github.com/waxwing-dm/waxwing/transparency/witness/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) witness.Store { return new(storetest.Memory) })
}

func TestAddCheckpoint(t *testing.T) {
	log := newHistory(t, origin).grow(t, 300, "x")
	b := newBench(t, []*history{log}, ed(t, "w.example", 1), pq(t, "w.example", 2))
	old := int64(0)
	for i, size := range []int64{0, 0, 1, 1, 2, 3, 7, 8, 9, 255, 256, 257, 300, 300} {
		b.now += int64(i)
		at := cosigned(t, log.checkpoint(t, size), log.key, b.add(t, log.body(t, old, size)), b.keys...)
		require.Equal(t, b.now, at)
		old = size
	}
}

// exampleRequest is the example of C2SP tlog-witness.
const exampleRequest = `old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
`

func TestC2SPExampleRequest(t *testing.T) {
	b := newBench(t, nil, ed(t, "w.example", 1))
	require.Equal(t, 404, b.add(t, []byte(exampleRequest)).Status, "it can be read, and the log is not known")
	b = newBench(t, []*history{newHistory(t, "example.com/behind-the-sofa")}, ed(t, "w.example", 1))
	require.Equal(t, 403, b.add(t, []byte(exampleRequest)).Status, "the log is known by another key")
}

func TestW1MalformedRequest(t *testing.T) {
	log := newHistory(t, origin).grow(t, 9, "x")
	b := newBench(t, []*history{log}, ed(t, "w.example", 1))
	cosigned(t, log.checkpoint(t, 5), log.key, b.add(t, log.body(t, 0, 5)), b.keys...)
	good := log.body(t, 5, 9)
	proof, err := log.prove(ctx, 5, 9)
	require.NoError(t, err)
	hash := proof[0].String()
	swap := func(old, new string) []byte {
		require.Contains(t, string(good), old)
		return bytes.Replace(good, []byte(old), []byte(new), 1)
	}
	extended, err := note.Sign(&note.Note{Text: fmt.Sprintf("%s\n9\n%s\nmore\n", origin, log.root(t, 9))}, log.signer)
	require.NoError(t, err)
	for name, body := range map[string][]byte{
		"nothing": nil, "only a checkpoint": log.checkpoint(t, 9), "no checkpoint": []byte("old 0\n\n"), "no empty line": swap("\n\n", "\n"),
		"no old size": swap("old 5\n", ""), "old without a number": swap("old 5", "old "), "old in capitals": swap("old 5", "OLD 5"), "old twice": swap("old 5\n", "old 5\nold 5\n"),
		"old negative": swap("old 5", "old -5"), "old with a zero in front": swap("old 5", "old 05"), "old with a plus": swap("old 5", "old +5"),
		"old with two spaces": swap("old 5", "old  5"), "old in hex": swap("old 5", "old 0x5"), "old beyond 63 bits": swap("old 5", "old 9223372036854775808"),
		"old beyond the new size": swap("old 5", "old 10"), "space after old": swap("old 5\n", "old 5 \n"), "carriage returns": bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")),
		"hash short": swap(hash, "AAAA"), "hash not base64": swap(hash, "*"+hash[1:]), "hash misspelt": swap(hash, hash[:42]+"/="),
		"64 hashes": swap(hash+"\n", strings.Repeat(hash+"\n", 64-len(proof)+1)), "not a note": []byte("old 5\n\nhello\n"), "unsigned": good[:bytes.LastIndex(good, []byte("\n\n"))+1],
		"an extension line": body(5, proof, extended), "cut": good[:len(good)-1], "something after": append(bytes.Clone(good), "x\n"...),
		"too long":                        append(bytes.Clone(good), make([]byte, witness.MaxRequest)...),
		"a checkpoint that is too long":   append(bytes.Clone(good), bytes.Repeat([]byte("\u2014 x AAAAAAAA\n"), transparency.MaxNote/16)...),
		"a size that no proof ends in":    swap("\n9\n", "\n4611686018427387905\n"),
		"a size with a zero in front":     swap("\n9\n", "\n09\n"),
		"a root that is no hash":          swap(log.root(t, 9).String(), "AAAA"),
		"signatures beyond the hundredth": append(bytes.Clone(good), bytes.Repeat([]byte("\u2014 x AAAAAAAA\n"), 100)...),
	} {
		require.Equal(t, 400, b.add(t, body).Status, name)
	}
	require.Equal(t, 200, b.add(t, good).Status)
}

// forged signs and then spoils the signature.
type forged struct{ note.Signer }

func (f forged) Sign(text []byte) ([]byte, error) {
	b, err := f.Signer.Sign(text)
	b[len(b)-1] ^= 1
	return b, err
}

func TestW2toW6Refusals(t *testing.T) {
	log := newHistory(t, origin).grow(t, 20, "x")
	fork := log.fork(7).grow(t, 20, "y")
	twin := newHistory(t, origin).grow(t, 20, "x") // the same entries, another key
	other := newHistory(t, "b.example/waxwing/log").grow(t, 20, "x")
	stranger := newHistory(t, "c.example/waxwing/log").grow(t, 20, "x")
	empty := log.fork(0)
	wrongEmpty, err := transparency.SignCheckpoint(transparency.Checkpoint{Origin: origin, Root: tlog.Hash{1}}, log.signer)
	require.NoError(t, err)
	proof, err := log.prove(ctx, 10, 20)
	require.NoError(t, err)
	bad, err := transparency.SignCheckpoint(transparency.Checkpoint{Origin: origin, Size: 20, Root: log.root(t, 20)}, forged{log.signer})
	require.NoError(t, err)
	huge, err := transparency.SignCheckpoint(transparency.Checkpoint{Origin: origin, Size: 1 << 62, Root: tlog.Hash{1}}, log.signer)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		have   int64 // cosigned before, 0 for nothing
		body   []byte
		status int
		told   string
	}{
		"W2 a log that is not known":                 {0, stranger.body(t, 0, 5), 404, ""},
		"W3 by another key":                          {0, twin.body(t, 0, 5), 403, ""},
		"W3 of another log, with its name put in":    {0, bytes.Replace(other.body(t, 0, 5), []byte("b.example/waxwing/log\n5"), []byte(origin+"\n5"), 1), 403, ""},
		"W3 a signature that does not verify":        {10, body(10, proof, bad), 403, ""},
		"W3 before W4":                               {10, bytes.Replace(twin.body(t, 5, 9), []byte("old 5"), []byte("old 99"), 1), 403, ""},
		"W4 the old size is beyond the new one":      {10, bytes.Replace(log.body(t, 5, 5), []byte("old 5"), []byte("old 6"), 1), 400, ""},
		"W5 nothing was cosigned, and it says 5":     {0, log.body(t, 5, 20), 409, "0\n"},
		"W5 from zero, after something":              {10, log.body(t, 0, 20), 409, "10\n"},
		"W5 from too low":                            {10, log.body(t, 9, 20), 409, "10\n"},
		"W5 from too high":                           {10, log.body(t, 11, 20), 409, "10\n"},
		"W5 back":                                    {10, log.body(t, 5, 5), 409, "10\n"},
		"W5 back to nothing":                         {10, empty.body(t, 0, 0), 409, "10\n"},
		"W6 size zero with another root":             {0, body(0, nil, wrongEmpty), 422, ""},
		"W6 a proof from the empty tree":             {0, body(0, proof, log.checkpoint(t, 20)), 422, ""},
		"W6 no proof":                                {10, body(10, nil, log.checkpoint(t, 20)), 422, ""},
		"W6 a hash less":                             {10, body(10, proof[1:], log.checkpoint(t, 20)), 422, ""},
		"W6 a hash more":                             {10, body(10, append([]tlog.Hash{{}}, proof...), log.checkpoint(t, 20)), 422, ""},
		"W6 a proof of another log's tree":           {10, body(10, proof, fork.checkpoint(t, 20)), 422, ""},
		"W6 a fork, with its own proof":              {10, fork.body(t, 10, 20), 422, ""},
		"W6 a fork of the same size":                 {10, fork.body(t, 10, 10), 422, ""},
		"W6 the same size with a proof":              {10, body(10, proof, log.checkpoint(t, 10)), 422, ""},
		"W6 the largest size, and no end to compute": {10, body(10, proof, huge), 422, ""},
		"the fork is the log before it forks":        {7, fork.body(t, 7, 20), 200, ""},
		"the good one":                               {10, log.body(t, 10, 20), 200, ""},
	} {
		b := newBench(t, []*history{log, other}, ed(t, "w.example", 1))
		if c.have > 0 {
			require.Equal(t, 200, b.add(t, log.body(t, 0, c.have)).Status)
		}
		before, _, err := b.store.State(ctx, witness.OriginHash(origin))
		require.NoError(t, err)
		r := b.add(t, c.body)
		require.Equal(t, c.status, r.Status, "%s: %s", name, r.Body)
		if c.status != 200 {
			require.NotContains(t, string(r.Body), "\u2014", name)
			after, _, err := b.store.State(ctx, witness.OriginHash(origin))
			require.NoError(t, err)
			require.Equal(t, before, after, name)
		}
		if c.status == 409 {
			require.Equal(t, c.told, string(r.Body), name)
			require.Equal(t, "text/x.tlog.size", r.ContentType, name)
		}
	}
}

// TestW7PersistsBeforeSigning: both ways of failing give no signature, and the log can go on after them.
func TestW7PersistsBeforeSigning(t *testing.T) {
	log := newHistory(t, origin).grow(t, 20, "x")
	fork := log.fork(0).grow(t, 20, "y")
	b := newBench(t, []*history{log}, ed(t, "w.example", 1))
	b.store.fail = true
	r, err := b.AddCheckpoint(ctx, log.body(t, 0, 5))
	require.ErrorIs(t, err, errDisk)
	require.Empty(t, r.Body)
	b.store.fail, b.store.lost = false, true
	r, err = b.AddCheckpoint(ctx, log.body(t, 0, 5))
	require.ErrorIs(t, err, errDisk)
	require.Empty(t, r.Body)
	b.store.lost = false
	require.Equal(t, "5\n", string(b.add(t, fork.body(t, 0, 20)).Body), "what was persisted counts, signed or not")
	require.Equal(t, 422, b.add(t, fork.body(t, 5, 20)).Status)
	cosigned(t, log.checkpoint(t, 5), log.key, b.add(t, log.body(t, 5, 5)), b.keys...)
	cosigned(t, log.checkpoint(t, 20), log.key, b.add(t, log.body(t, 5, 20)), b.keys...)
}

// TestW7Race is the race of C2SP tlog-witness, held open: both requests have read the state before either swaps.
func TestW7Race(t *testing.T) {
	log := newHistory(t, origin).grow(t, 20, "x")
	for name, second := range map[string][]byte{
		"a shorter tree": log.body(t, 5, 9), "a fork": log.fork(5).grow(t, 20, "y").body(t, 5, 20), "the same": log.body(t, 5, 20),
	} {
		b := newBench(t, []*history{log}, ed(t, "w.example", 1))
		b.add(t, log.body(t, 0, 5))
		var both, done sync.WaitGroup
		both.Add(2)
		var once [2]sync.Once
		n := 0
		var mu sync.Mutex
		b.store.before = func() {
			mu.Lock()
			i := n
			n++
			mu.Unlock()
			if i < 2 {
				once[i].Do(both.Done)
				both.Wait()
			}
		}
		answers := make([]witness.Response, 2)
		for i, body := range [][]byte{log.body(t, 5, 20), second} {
			done.Go(func() { answers[i], _ = b.AddCheckpoint(ctx, body) })
		}
		done.Wait()
		statuses := []int{answers[0].Status, answers[1].Status}
		require.ElementsMatch(t, []int{200, 409}, statuses, name)
	}
}

func TestW8Time(t *testing.T) {
	log := newHistory(t, origin).grow(t, 20, "x")
	other := newHistory(t, "b.example/waxwing/log").grow(t, 20, "x")
	b := newBench(t, []*history{log, other}, ed(t, "w.example", 1))
	at := func(now, from, to int64) int64 {
		b.now = now
		return cosigned(t, log.checkpoint(t, to), log.key, b.add(t, log.body(t, from, to)), b.keys...)
	}
	require.Equal(t, noon, at(noon, 0, 5))
	require.Equal(t, noon+3600, at(noon+3600, 5, 5), "an idle checkpoint gets a fresh time")
	require.Equal(t, noon+3600, at(noon+3599, 5, 5), "the clock went back a little; the time does not")
	require.Equal(t, noon+3600, at(noon+3540, 5, 6))
	for _, now := range []int64{noon + 3539, noon, 1, 0, -5} {
		b.now = now
		r, err := b.AddCheckpoint(ctx, log.body(t, 6, 7))
		require.ErrorIs(t, err, witness.ErrClock)
		require.Empty(t, r.Body)
	}
	require.Equal(t, noon+3601, at(noon+3601, 6, 7))
	b.now = noon
	cosigned(t, other.checkpoint(t, 5), other.key, b.add(t, other.body(t, 0, 5)), b.keys...)
}

func TestW9Auditor(t *testing.T) {
	log := newHistory(t, origin).grow(t, 20, "x")
	w, a := []*transparency.Cosigner{ed(t, "w.example", 1), pq(t, "w.example", 2)}, []*transparency.Cosigner{ed(t, "w.example/auditor", 3), pq(t, "w.example/auditor", 4)}
	var size int64
	var root tlog.Hash
	b := newBench(t, []*history{log}, w...)
	var err error
	b.Witness, err = witness.New(witness.Config{Keys: w, Auditor: a, LogKeys: pins(log), Store: b.store, Now: b.clock,
		Audited: func(o string) (int64, tlog.Hash) {
			require.Equal(t, origin, o)
			return size, root
		}})
	require.NoError(t, err)
	old := int64(0)
	for _, c := range []struct {
		name    string
		size    int64
		root    tlog.Hash
		audited bool
	}{
		{"nothing", 0, tlog.Hash{}, false}, {"up to here", 10, log.root(t, 10), true}, {"less", 9, log.root(t, 9), false}, {"more", 11, log.root(t, 11), false},
		{"another root", 10, tlog.Hash{1}, false}, {"another size", 9, log.root(t, 10), false}, {"up to here again", 10, log.root(t, 10), true},
	} {
		b.now++
		size, root = c.size, c.root
		want := w
		if c.audited {
			want = append(append([]*transparency.Cosigner{}, w...), a...)
		}
		r := b.add(t, log.body(t, old, 10))
		cosigned(t, log.checkpoint(t, 10), log.key, r, want...)
		old = 10
		size = 0
		monitor, err := b.Checkpoint(ctx, hashOf(origin))
		require.NoError(t, err)
		require.Equal(t, string(log.checkpoint(t, 10))+string(r.Body), string(monitor.Body), "%s: the same lines for monitors, whatever was audited since", c.name)
	}
}

func hashOf(origin string) string {
	h := witness.OriginHash(origin)
	return hex.EncodeToString(h[:])
}

func TestMonitorsSeeWhatWasCosigned(t *testing.T) {
	log := newHistory(t, origin).grow(t, 20, "x")
	b := newBench(t, []*history{log}, ed(t, "w.example", 1), pq(t, "w.example", 2))
	get := func(hash string) witness.Response {
		r, err := b.Checkpoint(ctx, hash)
		require.NoError(t, err)
		return r
	}
	require.Equal(t, 404, get(hashOf(origin)).Status)
	// Somebody adds lines to the checkpoint that nobody here can check.
	body := append(log.body(t, 0, 7), "\u2014 advertisement.example AAAAAAAA\n"...)
	r := b.add(t, body)
	b.now += 500
	got := get(hashOf(origin))
	require.Equal(t, 200, got.Status)
	require.Equal(t, string(log.checkpoint(t, 7))+string(r.Body), string(got.Body))
	for _, hash := range []string{"", "x", hashOf(origin)[1:], hashOf(origin) + "0", strings.ToUpper(hashOf(origin)), hashOf("b.example"), strings.Repeat("z", 64)} {
		require.Equal(t, 404, get(hash).Status, hash)
	}
}

func TestNewRefuses(t *testing.T) {
	a, b := ed(t, "w.example", 1), ed(t, "w.example/auditor", 1)
	for name, c := range map[string]witness.Config{
		"no key": {}, "one key for two statements": {Keys: []*transparency.Cosigner{a}, Auditor: []*transparency.Cosigner{b}, Audited: func(string) (int64, tlog.Hash) { return 0, tlog.Hash{} }},
		"a key twice": {Keys: []*transparency.Cosigner{a, a}}, "an auditor that does not audit": {Keys: []*transparency.Cosigner{a}, Auditor: []*transparency.Cosigner{ed(t, "w.example/auditor", 2)}},
	} {
		_, err := witness.New(c)
		require.Error(t, err, name)
	}
}
