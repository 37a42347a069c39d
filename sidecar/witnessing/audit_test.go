package witnessing_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/waxwing-dm/waxwing/transparency"
)

const (
	first  = transparency.KindFirst
	update = transparency.KindUpdate
	pad    = transparency.KindPad
)

// TestW25TheAuditEnds: the log signs an entry that the rules forbid. The witness goes on, for the log only grew; the auditor never
// signs again, not even after a restart; and what proves it is kept.
func TestW25TheAuditEnds(t *testing.T) {
	for name, c := range map[string]struct {
		check string
		bad   func(f *forger)
	}{
		"a bad map root": {"L8", func(f *forger) {
			f.append(transparency.Entry{Statement: said(first, 9, 0, 9), MapRoot: [32]byte{1}}.Marshal())
		}},
		"an update by another key": {"L2", func(f *forger) { f.add(said(update, 1, 1, 5)) }},
		"an update nobody signed":  {"L6", func(f *forger) { s := said(update, 1, 1, 1); s.Signature[0] ^= 1; f.add(s) }},
		"a device list replaced":   {"L1", func(f *forger) { f.add(said(first, 1, 0, 5)) }},
		"padding with a new map": {"L8", func(f *forger) {
			f.append(transparency.Entry{Statement: transparency.Statement{Kind: pad}, MapRoot: [32]byte{1}}.Marshal())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.instance("a.example"), w.instance("b.example")
			l := w.start()
			l.watch(a)
			l.watch(b)
			a.pad(3)
			a.add(said(first, 1, 0, 1))
			b.pad(3)
			require.Equal(t, "wa", l.cosign(a, 0))
			require.Equal(t, "wa", l.cosign(b, 0))
			c.bad(a.forger)
			a.pad(7)
			require.Equal(t, "w", l.cosign(a, 4))
			bad := a.checkpoint()
			stopped := l.document().Stopped
			require.Len(t, stopped, 1)
			require.Equal(t, a.signer.Name(), stopped[0].Origin)
			require.Equal(t, int64(4), stopped[0].Entry)
			require.Contains(t, stopped[0].Reason, "check "+c.check+":")
			require.Equal(t, a.raw[4], stopped[0].Bytes)
			proof, err := transparency.OpenCheckpoint([]byte(stopped[0].Checkpoint), must(note.NewVerifier(a.key)))
			require.NoError(t, err)
			require.Equal(t, int64(7), proof.Size)
			require.Equal(t, 1, strings.Count(w.logs(), "A LOG IS NOT IN ORDER"))
			require.NotContains(t, string(l.newest(a).body), "/auditor")

			require.Equal(t, "w", l.signed(a, bad, l.post(a.body(7))))
			l.end()
			l = w.start()
			w.advance(4000)
			require.Equal(t, "w", l.signed(a, bad, l.post(a.body(7))), "after a restart")
			a.pad(300)
			require.Equal(t, "w", l.cosign(a, 7))
			require.Equal(t, stopped, l.document().Stopped)
			require.Equal(t, 1, strings.Count(w.logs(), "A LOG IS NOT IN ORDER"), "it is not judged twice")
			b.pad(10)
			require.Equal(t, "wa", l.cosign(b, 3), "another log is another matter")
		})
	}
}

// TestW24EntriesThatAreNotTheLogs: whoever carries the tiles cannot have a log condemned. Once they are in order again it is audited.
func TestW24EntriesThatAreNotTheLogs(t *testing.T) {
	other := func(at int, to []byte) func(string, []byte) ([]byte, int) {
		return func(path string, honest []byte) ([]byte, int) {
			if strings.Contains(path, "/entries/") {
				honest = bytes.Clone(honest)
				copy(honest[at*244+2:], to)
			}
			return honest, 200
		}
	}
	for name, c := range map[string]struct {
		lie func(path string, honest []byte) ([]byte, int)
	}{
		"a forbidden entry in the place of one": {other(5, said(update, 9, 3, 9).Marshal())},
		"an entry that could stand there":       {other(5, transparency.Statement{Kind: pad, Time: 99}.Marshal())},
		"no version that is known":              {other(5, []byte{9, 9})},
		"another length":                        {other(5, nil)},
		"one too few":                           {func(_ string, b []byte) ([]byte, int) { return b[:len(b)-244], 200 }},
		"one too many":                          {func(_ string, b []byte) ([]byte, int) { return append(b, b[:244]...), 200 }},
		"half an entry more":                    {func(_ string, b []byte) ([]byte, int) { return append(b, 0, 0, 0), 200 }},
		"nothing":                               {func(string, []byte) ([]byte, int) { return nil, 200 }},
		"a lot":                                 {func(string, []byte) ([]byte, int) { return make([]byte, 32<<20), 200 }},
		"an error":                              {func(string, []byte) ([]byte, int) { return nil, 500 }},
		"not there":                             {func(string, []byte) ([]byte, int) { return nil, 404 }},
		"a redirect":                            {func(string, []byte) ([]byte, int) { return nil, 302 }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.instance("a.example")
			l := w.start()
			l.watch(a)
			a.pad(20)
			if name == "another length" {
				c.lie = func(_ string, b []byte) ([]byte, int) { b[1]++; return b, 200 }
			}
			a.change(func() { a.lie = c.lie })
			require.Equal(t, "w", l.cosign(a, 0))
			l.eventually(func() bool { return strings.Contains(w.logs(), "auditing a log") })
			require.Empty(t, l.document().Stopped)
			require.Equal(t, "w", l.cosign(a, 20), "and it is still so")
			a.change(func() { a.lie = nil })
			require.Equal(t, "wa", l.cosign(a, 20))
		})
	}
}

// TestAFailedAuditIsTriedAgain, without anybody asking.
func TestAFailedAuditIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	a := w.instance("a.example")
	l := w.start()
	l.watch(a)
	a.pad(20)
	a.change(func() { a.lie = func(string, []byte) ([]byte, int) { return nil, 503 } })
	require.Equal(t, "w", l.cosign(a, 0))
	a.change(func() { a.lie, a.asked = nil, nil })
	w.advance(30)
	l.eventually(func() bool { return len(a.paths()) > 0 })
	l.eventually(func() bool { return l.cosign(a, 20) == "wa" })
}

// TestALongLog is read in parts, each held to the root that the tiles prove for it; entries of a fork in a later part do not get in.
func TestALongLog(t *testing.T) {
	const size = 10_000
	w := newWorld(t)
	a := w.instance("a.example")
	l := w.start()
	l.watch(a)
	a.pad(size)
	fork := forkOf(a, 9000)
	a.change(func() {
		a.lie = func(path string, honest []byte) ([]byte, int) {
			if strings.Contains(path, "/entries/") {
				return must(fork.Tile(ctx, strings.TrimPrefix(path, "/waxwing/log/"))), 200
			}
			return honest, 200
		}
	})
	l.cosign(a, 0)
	l.eventually(func() bool { return strings.Contains(w.logs(), "do not make the root") })
	require.Contains(t, w.logs(), "audited=8192")
	require.Empty(t, l.document().Stopped)

	// A forged tile of hashes, too, is found.
	a.change(func() { a.lie = func(_ string, honest []byte) ([]byte, int) { honest[0] ^= 1; return honest, 200 } })
	a.pad(20_000)
	l.cosign(a, size)
	l.eventually(func() bool { return strings.Contains(w.logs(), "inconsistent tile") })

	l.end()
	a.change(func() { a.lie = nil })
	l = w.start()
	l.eventually(func() bool { return l.cosign(a, 20_000) == "wa" })
	require.Empty(t, l.document().Stopped)
}

// TestPartialOnesAreGone: a log may throw away the partial bundles and tiles for which it has full ones.
func TestPartialOnesAreGone(t *testing.T) {
	w := newWorld(t)
	a := w.instance("a.example")
	l := w.start()
	l.watch(a)
	a.pad(5300)
	body, checkpoint := a.body(0), a.checkpoint()
	a.pad(70_000)
	a.change(func() {
		a.lie = func(path string, honest []byte) ([]byte, int) {
			if strings.Contains(path, ".p/") {
				return nil, 404
			}
			return honest, 200
		}
	})
	l.post(body)
	l.eventually(func() bool {
		return l.signed(a, checkpoint, l.post(bytes.Replace(body, []byte("old 0"), []byte("old 5300"), 1))) == "wa"
	})
	paths := strings.Join(a.paths(), "\n")
	require.Contains(t, paths, "tile/entries/020.p/180\n/waxwing/log/tile/entries/020")
	require.Contains(t, paths, "tile/1/000.p/20\n/waxwing/log/tile/1/000")
}

// TestTooLarge: of a log that says it is larger than what is audited here nothing is read.
func TestTooLarge(t *testing.T) {
	for _, size := range []int64{1<<20 + 1, 1 << 62} {
		w := newWorld(t)
		a := w.instance("a.example")
		l := w.start()
		l.watch(a)
		a.pad(3)
		checkpoint := must(transparency.SignCheckpoint(transparency.Checkpoint{Origin: a.signer.Name(), Size: size, Root: [32]byte{1}}, a.signer))
		require.Equal(t, "w", l.signed(a, checkpoint, l.post(append([]byte("old 0\n\n"), checkpoint...))))
		require.Contains(t, w.logs(), "too large")
		require.Len(t, a.paths(), 1, "the discovery document")
	}
}

// TestSlow: a log that takes its time holds up nobody but itself.
func TestSlow(t *testing.T) {
	w := newWorld(t)
	var slow []*instance
	for n := range 20 {
		slow = append(slow, w.instance(fmt.Sprintf("slow%d.example", n)))
	}
	b := w.instance("b.example")
	l := w.start()
	l.watch(b)
	hold := make(chan struct{})
	var all sync.WaitGroup
	for _, s := range slow {
		l.watch(s)
		s.pad(3)
		s.change(func() { s.hold = hold })
		all.Go(func() { l.post(s.body(0)) })
	}
	all.Wait()
	b.pad(3)
	require.Equal(t, "wa", l.cosign(b, 0))
	close(hold)
	for _, s := range slow {
		l.eventually(func() bool { return l.cosign(s, 3) == "wa" })
	}
}

// TestWhatIsKeptIsDamaged: that the own memory does not replay is no log's fault.
func TestWhatIsKeptIsDamaged(t *testing.T) {
	w := newWorld(t)
	a := w.instance("a.example")
	l := w.start()
	l.watch(a)
	a.pad(20)
	require.Equal(t, "wa", l.cosign(a, 0))
	l.end()
	w.exec("UPDATE entry SET entry = x'00' WHERE idx = 7")
	l = w.start()
	l.eventually(func() bool { return l.cosign(a, 20) == "wa" })
	require.Empty(t, l.document().Stopped)
	require.Contains(t, w.logs(), "read anew")
}
