package witnessing_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/sidecar/witnessing"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
	"github.com/waxwing-dm/waxwing/transparency/sequencer/storetest"
	"github.com/waxwing-dm/waxwing/transparency/witness"
	witnesstest "github.com/waxwing-dm/waxwing/transparency/witness/storetest"
)

func TestStore(t *testing.T) {
	n := 0
	witnesstest.Run(t, func(t *testing.T) witness.Store {
		n++
		return witnessing.OpenStore(t, filepath.Join(t.TempDir(), fmt.Sprint(n)))
	})
}

type poster struct{ *http.Client }

func (p poster) Post(ctx context.Context, url string, body []byte) (int, string, []byte, error) {
	req := must(http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body)))
	a := read(p.Do(req))
	return a.status, a.header.Get("Content-Type"), a.body, nil
}

// TestALogIsWitnessedAndAudited has a real log ask for both cosignatures after each append, and serve what came of it.
func TestALogIsWitnessedAndAudited(t *testing.T) {
	w := newWorld(t)
	a := w.instance("a.example")
	log := must(sequencer.New(ctx, sequencer.Config{Store: new(storetest.Memory), Host: "a.example", Key: account(77), VRF: a.vrf, Now: w.clock}))
	a.key = must(log.VerifierKey())
	a.named, a.tiles = discovery(a.url, a.host, a.vrf, a.key), log
	l := w.start()
	l.watch(a)
	policy := must(transparency.ParsePolicy([]byte("log " + a.key + "\n" + strings.Join(l.Policy(), "\n") + "\ngroup both all w.example w.example/auditor\nquorum both\n")))
	endpoints := witness.Endpoints(policy)
	require.Len(t, endpoints, 1, "both keys are asked for together")
	require.Equal(t, "https://w.example/waxwing/witness", endpoints[0].URL)
	endpoints[0].URL = l.server.URL + "/waxwing/witness"
	for n := range byte(20) {
		actor := fmt.Sprintf("https://a.example/users/u%d", n)
		c := keydir.Change{Kind: transparency.KindFirst, Label: log.Label(actor), Next: public(account(n)), Opening: [32]byte{n},
			List: keydir.DeviceList{Actor: actor, Devices: []keydir.Device{{SignatureKey: public(account(n + 100)), Added: 1}}}}
		s, content := c.Sign(nil, account(n), uint64(w.clock().UnixMilli()))
		must(log.Append(ctx, sequencer.Submission{Actor: actor, Statement: s.Marshal(), Opening: c.Opening, Content: content}))
		size, checkpoint := log.Unwitnessed()
		round := witness.Round{Checkpoint: checkpoint, Log: must(note.NewVerifier(a.key)), Policy: policy, Endpoints: endpoints,
			Prove: log.ProveFrom, Transport: poster{http.DefaultClient}, Timeout: 10 * time.Second}
		result, _, err := round.Collect(ctx)
		require.NoError(t, err)
		require.True(t, result.Verdict.Met, "%d: %+v", n, result.Outcomes)
		require.NoError(t, log.Witnessed(ctx, result.Note))
		require.Equal(t, string(result.Note), string(l.newest(a).body), "a monitor sees the same")
		endpoints[0].Size = size
	}
	require.Empty(t, l.document().Stopped)
}

// TestCrash: what was audited is not read again, what was cosigned is not taken back, and the keys stay.
func TestCrash(t *testing.T) {
	w := newWorld(t)
	a := w.instance("a.example")
	l := w.start()
	l.watch(a)
	a.pad(300)
	require.Equal(t, "wa", l.cosign(a, 0))
	policy := l.Policy()
	// The audit hangs while the process is killed.
	hold := make(chan struct{})
	defer close(hold)
	a.change(func() { a.hold = hold })
	a.pad(400)
	require.Equal(t, "w", l.cosign(a, 300))
	l.end()

	a.change(func() { a.hold, a.asked = nil, nil })
	l = w.start(func(c *witnessing.Config) { c.Host = "" })
	require.Equal(t, policy, l.Policy())
	require.Equal(t, 409, l.post(a.body(300)).status)
	require.Equal(t, 422, l.post(forkOf(a, 380).body(400)).status)
	w.advance(60)
	l.eventually(func() bool { return len(a.paths()) > 0 })
	require.Equal(t, "wa", l.cosign(a, 400))
	require.Equal(t, []string{"/waxwing/log/tile/entries/001.p/144"}, a.paths(), "300 were kept")
	require.Equal(t, 1, l.document().Logs)
}

// forkOf continues a log otherwise from a size on, up to the same.
func forkOf(a *instance, from int) *forger {
	f := &forger{signer: a.signer, key: a.key}
	for _, raw := range a.raw[:from] {
		f.append(raw)
	}
	for len(f.raw) < len(a.raw) {
		f.add(transparency.Statement{Kind: transparency.KindPad, Time: 12345})
	}
	return f
}

// TestTwoStories sends two continuations of one log at once, many times: no two cosignatures of one size differ.
func TestTwoStories(t *testing.T) {
	w := newWorld(t)
	a := w.instance("a.example")
	l := w.start()
	l.watch(a)
	for size := 5; size <= 25; size += 5 {
		w.advance(60)
		var bodies, checkpoints [][]byte
		from := a.size()
		a.pad(size)
		forks := []*forger{a.forger, forkOf(a, int(from))}
		for _, f := range forks {
			bodies, checkpoints = append(bodies, f.body(from)), append(checkpoints, f.checkpoint())
		}
		answers := make([]answer, 8)
		var all sync.WaitGroup
		for i := range answers {
			all.Go(func() { answers[i] = l.post(bodies[i%2]) })
		}
		all.Wait()
		won := map[int]bool{}
		for i, got := range answers {
			if got.status == 200 {
				l.signed(a, checkpoints[i%2], got)
				won[i%2] = true
			} else {
				require.Contains(t, []int{409, 422}, got.status, "%s", got.body)
			}
		}
		require.Len(t, won, 1)
		for i := range won {
			a.change(func() { a.forger, a.tiles = forks[i], forks[i] })
		}
	}
}

// TestPostQuantum: every statement has two keys, and a policy counts them as one.
func TestPostQuantum(t *testing.T) {
	w := newWorld(t)
	a := w.instance("a.example")
	l := w.start(func(c *witnessing.Config) { c.PostQuantum = true })
	l.watch(a)
	a.pad(3)
	got := l.post(a.body(0))
	require.Equal(t, 4, strings.Count(string(got.body), "\n"))
	policy := must(transparency.ParsePolicy([]byte(strings.Join(l.Policy(), "\n") + "\ngroup two all w.example w.example/auditor\nquorum two\n")))
	v, err := policy.Evaluate(append(a.checkpoint(), got.body...), must(note.NewVerifier(a.key)))
	require.NoError(t, err)
	require.True(t, v.Met)
	require.Len(t, v.Cosigned, 4)
}

func TestOpenRefuses(t *testing.T) {
	w := newWorld(t)
	_, err := witnessing.Open(witnessing.Config{DataDir: w.dir})
	require.ErrorContains(t, err, "--host")
	for _, host := range []string{"W.example", "w.example/x", "a b", "w.example+x", "x@w.example", strings.Repeat("w", 600)} {
		_, err = witnessing.Open(witnessing.Config{DataDir: w.dir, Host: host})
		require.Error(t, err, host)
	}
	w.start().end()
	_, err = witnessing.Open(witnessing.Config{DataDir: w.dir, Host: "v.example"})
	require.ErrorContains(t, err, "another folder")
}
