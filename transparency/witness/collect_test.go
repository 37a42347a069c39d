package witness_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/witness"
)

// serve puts routes in front of a witness, as a sidecar will.
func (b *bench) serve(t testing.TB) string {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, r witness.Response, err error) {
		if err != nil {
			http.Error(w, "sorry", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", r.ContentType)
		w.WriteHeader(r.Status)
		_, _ = w.Write(r.Body)
	}
	mux.HandleFunc("POST /add-checkpoint", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, witness.MaxRequest+1))
		if err != nil {
			return
		}
		resp, err := b.AddCheckpoint(r.Context(), body)
		answer(w, resp, err)
	})
	mux.HandleFunc("GET /{hash}/checkpoint", func(w http.ResponseWriter, r *http.Request) {
		resp, err := b.Checkpoint(r.Context(), r.PathValue("hash"))
		answer(w, resp, err)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

type overHTTP struct{}

func (overHTTP) Post(ctx context.Context, url string, body []byte) (int, string, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, "", nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, witness.MaxResponse+1))
	return resp.StatusCode, resp.Header.Get("Content-Type"), b, err
}

// twoOfThree is a policy over three keys at three URLs.
func twoOfThree(t testing.TB, urls []string, keys ...*transparency.Cosigner) *transparency.Policy {
	t.Helper()
	text := ""
	for i, k := range keys {
		text += fmt.Sprintf("witness w%d %s %s\n", i, k.Key(), urls[i])
	}
	p, err := transparency.ParsePolicy([]byte(text + "group g 2 w0 w1 w2\nquorum g\n"))
	require.NoError(t, err)
	return p
}

func three(t testing.TB) []*transparency.Cosigner {
	return []*transparency.Cosigner{ed(t, "w0.example", 1), pq(t, "w1.example", 2), ed(t, "w2.example", 3)}
}

func round(log *history, size int64, checkpoint []byte, p *transparency.Policy, transport witness.Transport) witness.Round {
	return witness.Round{Checkpoint: checkpoint, Log: log.key, Policy: p, Except: []string{origin}, Endpoints: witness.Endpoints(p), Prove: log.prove,
		Transport: transport, Timeout: time.Minute}
}

// TestCollectOverHTTP is the whole of it: a log, three witnesses behind real servers, and a reader who checks the result offline.
func TestCollectOverHTTP(t *testing.T) {
	log := newHistory(t, origin).grow(t, 300, "x")
	keys := three(t)
	var urls []string
	var benches []*bench
	for _, k := range keys {
		b := newBench(t, []*history{log}, k)
		benches, urls = append(benches, b), append(urls, b.serve(t))
	}
	p := twoOfThree(t, urls, keys...)
	sizes := []int64{0, 0, 0}
	for i, size := range []int64{1, 5, 5, 256, 300} {
		for j, b := range benches {
			b.mu.Lock()
			b.now += int64(i*100 + j)
			b.mu.Unlock()
		}
		checkpoint := log.checkpoint(t, size)
		r := round(log, size, checkpoint, p, overHTTP{})
		for j := range r.Endpoints {
			r.Endpoints[j].Size = sizes[j] // wrong for one of them each time
		}
		sizes[i%3] = size
		first, rest, err := r.Collect(ctx)
		require.NoError(t, err)
		require.True(t, first.Verdict.Met)
		all := rest()
		require.Equal(t, all, rest(), "asked again")
		require.Len(t, all.Verdict.Cosigned, 3)
		for _, o := range all.Outcomes {
			require.NoError(t, o.Err)
			require.True(t, o.Done)
			require.Equal(t, []any{200, size}, []any{o.Status, o.Size})
			require.Len(t, o.Signed, 1)
		}
		index := size - 1
		inclusion, err := tlog.ProveRecord(size, index, tlog.HashReaderFunc(log.read))
		require.NoError(t, err)
		for _, signed := range [][]byte{first.Note, all.Note} {
			proof := transparency.Proof{Index: index, Inclusion: inclusion, Checkpoint: signed}
			v, err := proof.Verify(tlog.RecordHash(fmt.Appendf(nil, "x %d", index)), p, log.key, origin)
			require.NoError(t, err)
			require.Equal(t, size, v.Checkpoint.Size)
			require.GreaterOrEqual(t, v.AsOf, noon)
		}
		for j, u := range urls {
			resp, err := http.Get(u + "/" + hashOf(origin) + "/checkpoint")
			require.NoError(t, err)
			var b bytes.Buffer
			_, err = b.ReadFrom(resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			c, _, err := transparency.OpenCosigned(b.Bytes(), []note.Verifier{log.key}, []*transparency.CosignerKey{keys[j].Key()})
			require.NoError(t, err)
			require.Equal(t, size, c.Size)
		}
	}
}

// A script answers for witnesses without any network.
type script map[string]func(ctx context.Context, body []byte) (int, string, []byte, error)

func (s script) Post(ctx context.Context, url string, body []byte) (int, string, []byte, error) {
	return s[strings.TrimSuffix(url, "/add-checkpoint")](ctx, body)
}

func (b *bench) script(ctx context.Context, body []byte) (int, string, []byte, error) {
	r, err := b.AddCheckpoint(ctx, body)
	return r.Status, r.ContentType, r.Body, err
}

func hang(ctx context.Context, _ []byte) (int, string, []byte, error) {
	<-ctx.Done()
	return 0, "", nil, ctx.Err()
}

var errDown = errors.New("connection refused")

func down(context.Context, []byte) (int, string, []byte, error) { return 0, "", nil, errDown }

// world of three witnesses that have the log at size 5.
func world(t testing.TB) (*history, []*bench, script, *transparency.Policy) {
	log := newHistory(t, origin).grow(t, 20, "x")
	keys, urls, s := three(t), []string{"https://w0.example", "https://w1.example/", "https://w2.example"}, script{}
	var all []*bench
	for i, k := range keys {
		b := newBench(t, []*history{log}, k)
		b.add(t, log.body(t, 0, 5))
		all = append(all, b)
		s[strings.TrimSuffix(urls[i], "/")] = b.script
	}
	return log, all, s, twoOfThree(t, urls, keys...)
}

func TestCollectReturnsAtTheQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _, s, p := world(t)
		start := time.Now()
		s["https://w1.example"] = hang
		first, rest, err := round(log, 20, log.checkpoint(t, 20), p, s).Collect(ctx)
		require.NoError(t, err)
		require.True(t, first.Verdict.Met)
		require.Zero(t, time.Since(start), "two of three have signed")
		require.False(t, first.Outcomes[1].Done)
		require.Equal(t, []string{"w1"}, first.Verdict.Missing)
		all := rest()
		require.Equal(t, time.Minute, time.Since(start), "the third may take a minute")
		require.Error(t, all.Outcomes[1].Err)
		require.Equal(t, first.Note, all.Note)
	})
}

// TestCollectLeavesNobodyBehind: a synctest bubble ends only when every goroutine in it has, here without rest being called.
func TestCollectLeavesNobodyBehind(t *testing.T) {
	for name, cancelled := range map[string]bool{"timeout": false, "cancelled": true} {
		synctest.Test(t, func(t *testing.T) {
			log, _, s, p := world(t)
			s["https://w0.example"], s["https://w1.example"] = hang, hang
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			start := time.Now()
			if cancelled {
				time.AfterFunc(time.Second, cancel)
			}
			r, _, err := round(log, 20, log.checkpoint(t, 20), p, s).Collect(ctx)
			require.NoError(t, err)
			require.False(t, r.Verdict.Met, name)
			require.Equal(t, map[bool]time.Duration{true: time.Second, false: time.Minute}[cancelled], time.Since(start), name)
			require.Equal(t, []string{"w0", "w1"}, r.Verdict.Missing)
			require.True(t, r.Outcomes[2].Done)
		})
	}
}

// TestCollectSaysWhoIsMissing: two are down, so it waits.
func TestCollectSaysWhoIsMissing(t *testing.T) {
	log, _, s, p := world(t)
	s["https://w0.example"], s["https://w2.example"] = down, down
	_, rest, err := round(log, 20, log.checkpoint(t, 20), p, s).Collect(ctx)
	require.NoError(t, err)
	r := rest()
	require.False(t, r.Verdict.Met)
	require.Equal(t, []string{"w0", "w2"}, r.Verdict.Missing)
	require.ErrorIs(t, r.Outcomes[0].Err, errDown)
	require.Equal(t, []string{"w1.example"}, r.Outcomes[1].Signed)
	require.ErrorIs(t, r.Outcomes[2].Err, errDown)
}

// lying asks the true witness and changes its answer.
func lying(b *bench, change func(status int, contentType string, answer []byte) (int, string, []byte)) func(context.Context, []byte) (int, string, []byte, error) {
	return func(ctx context.Context, body []byte) (int, string, []byte, error) {
		status, contentType, answer, err := b.script(ctx, body)
		status, contentType, answer = change(status, contentType, answer)
		return status, contentType, answer, err
	}
}

func TestW10OnlyVerifiedCosignaturesCount(t *testing.T) {
	const sizeType = "text/x.tlog.size"
	cosign := func(t *testing.T, text []byte, by note.Signer) []byte {
		signed, err := note.Sign(&note.Note{Text: string(text)}, by)
		require.NoError(t, err)
		return signed[len(text)+1:]
	}
	for name, answer := range map[string]func(t *testing.T, log *history, w *transparency.Cosigner, good []byte) (int, string, []byte){
		"good": nil,
		"good, and more that nobody knows": func(t *testing.T, _ *history, _ *transparency.Cosigner, good []byte) (int, string, []byte) {
			return 200, "", append(good, "\u2014 x.example AAAAAAAA\n"...)
		},
		"nothing": func(*testing.T, *history, *transparency.Cosigner, []byte) (int, string, []byte) { return 200, "", nil },
		"no note": func(*testing.T, *history, *transparency.Cosigner, []byte) (int, string, []byte) {
			return 200, "", []byte("<html>\n")
		},
		"cut": func(_ *testing.T, _ *history, _ *transparency.Cosigner, good []byte) (int, string, []byte) {
			return 200, "", good[:len(good)-1]
		},
		"a spoilt signature": func(_ *testing.T, _ *history, _ *transparency.Cosigner, good []byte) (int, string, []byte) {
			good[len(good)-8] ^= 1
			return 200, "", good
		},
		"another's signature": func(t *testing.T, log *history, _ *transparency.Cosigner, _ []byte) (int, string, []byte) {
			return 200, "", cosign(t, textOf(log.checkpoint(t, 20)), ed(t, "w0.example", 99).At(noon))
		},
		"of another tree": func(t *testing.T, log *history, w *transparency.Cosigner, _ []byte) (int, string, []byte) {
			return 200, "", cosign(t, textOf(log.checkpoint(t, 5)), w.At(noon))
		},
		"of another tree, with its text": func(t *testing.T, log *history, w *transparency.Cosigner, _ []byte) (int, string, []byte) {
			text := textOf(log.checkpoint(t, 5))
			return 200, "", append(append(bytes.Clone(text), '\n'), cosign(t, text, w.At(noon))...)
		},
		"without a time": func(t *testing.T, log *history, w *transparency.Cosigner, _ []byte) (int, string, []byte) {
			return 200, "", cosign(t, textOf(log.checkpoint(t, 20)), w.At(0))
		},
		"too long": func(_ *testing.T, _ *history, _ *transparency.Cosigner, good []byte) (int, string, []byte) {
			return 200, "", append(good, make([]byte, witness.MaxResponse)...)
		},
		"too many lines": func(_ *testing.T, _ *history, _ *transparency.Cosigner, good []byte) (int, string, []byte) {
			return 200, "", append(good, bytes.Repeat([]byte("\u2014 x AAAAAAAA\n"), 100)...)
		},
		"201": func(_ *testing.T, _ *history, _ *transparency.Cosigner, good []byte) (int, string, []byte) {
			return 201, "", good
		},
		"500": func(*testing.T, *history, *transparency.Cosigner, []byte) (int, string, []byte) { return 500, "", nil },
		"409 without its type": func(*testing.T, *history, *transparency.Cosigner, []byte) (int, string, []byte) {
			return 409, "text/plain", []byte("5\n")
		},
		"409 without a size": func(*testing.T, *history, *transparency.Cosigner, []byte) (int, string, []byte) {
			return 409, sizeType, nil
		},
		"409 without a newline": func(*testing.T, *history, *transparency.Cosigner, []byte) (int, string, []byte) {
			return 409, sizeType, []byte("5")
		},
		"409 with a zero": func(*testing.T, *history, *transparency.Cosigner, []byte) (int, string, []byte) {
			return 409, sizeType, []byte("05\n")
		},
		"409 negative": func(*testing.T, *history, *transparency.Cosigner, []byte) (int, string, []byte) {
			return 409, sizeType, []byte("-5\n")
		},
		"409 every time": func(*testing.T, *history, *transparency.Cosigner, []byte) (int, string, []byte) {
			return 409, sizeType, []byte("5\n")
		},
		"409, and it has nothing": func(*testing.T, *history, *transparency.Cosigner, []byte) (int, string, []byte) {
			return 409, sizeType, []byte("0\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			log, all, s, p := world(t)
			if answer != nil {
				s["https://w0.example"] = lying(all[0], func(int, string, []byte) (int, string, []byte) {
					r, err := all[0].Checkpoint(ctx, hashOf(origin))
					require.NoError(t, err)
					_, lines, _ := bytes.Cut(r.Body, []byte(log.checkpoint(t, 20)))
					return answer(t, log, all[0].keys[0], bytes.Clone(lines))
				})
			}
			r := round(log, 20, log.checkpoint(t, 20), p, s)
			for i := range r.Endpoints {
				r.Endpoints[i].Size = 5
			}
			_, rest, err := r.Collect(ctx)
			require.NoError(t, err)
			got := rest()
			require.True(t, got.Verdict.Met, "the other two are enough")
			v, err := p.Evaluate(got.Note, log.key)
			require.NoError(t, err, "whatever one witness answers, the note stays good")
			if strings.HasPrefix(name, "good") {
				require.NoError(t, got.Outcomes[0].Err)
				require.Empty(t, v.Missing)
				return
			}
			require.Error(t, got.Outcomes[0].Err)
			if strings.HasPrefix(name, "409 with") || name == "409 negative" {
				require.ErrorContains(t, got.Outcomes[0].Err, "does not say which one it has")
			}
			require.Empty(t, got.Outcomes[0].Signed)
			require.Equal(t, []string{"w0"}, v.Missing)
		})
	}
}

func textOf(checkpoint []byte) []byte {
	text, _, _ := bytes.Cut(checkpoint, []byte("\n\n"))
	return append(text[:len(text):len(text)], '\n')
}

func TestW11AsksOnceMore(t *testing.T) {
	log, all, s, p := world(t)
	all[1].add(t, log.body(t, 5, 11))
	all[2].add(t, log.body(t, 5, 20))
	asked := map[string]int{}
	for url, post := range s {
		s[url] = func(ctx context.Context, body []byte) (int, string, []byte, error) { return post(ctx, body) }
	}
	for name, sizes := range map[string][3]int64{"unknown": {}, "wrong": {11, 5, 5}, "beyond the checkpoint": {99, 21, 1 << 62}, "right": {5, 11, 20}, "nonsense": {-1, -1, -1}} {
		r := round(log, 20, log.checkpoint(t, 20), p, s)
		for i := range r.Endpoints {
			r.Endpoints[i].Size = sizes[i]
		}
		_, rest, err := r.Collect(ctx)
		require.NoError(t, err)
		for _, o := range rest().Outcomes {
			require.NoError(t, o.Err, name)
			require.Equal(t, int64(20), o.Size)
		}
		asked[name]++
	}
	// A log whose backup was restored has less than its witnesses know.
	_, rest, err := round(log, 9, log.checkpoint(t, 9), p, s).Collect(ctx)
	require.NoError(t, err)
	r := rest()
	require.False(t, r.Verdict.Met)
	for _, o := range r.Outcomes {
		require.ErrorIs(t, o.Err, witness.ErrAhead)
		require.Equal(t, int64(20), o.Size)
	}
	// A log that went on otherwise is told so.
	fork := log.fork(9).grow(t, 30, "y")
	_, rest, err = round(fork, 30, fork.checkpoint(t, 30), p, s).Collect(ctx)
	require.NoError(t, err)
	for _, o := range rest().Outcomes {
		require.Equal(t, 422, o.Status)
		require.Empty(t, o.Signed)
	}
}

func TestCollectWithoutAnybody(t *testing.T) {
	log := newHistory(t, origin).grow(t, 20, "x")
	p, err := transparency.ParsePolicy([]byte("quorum none\n"))
	require.NoError(t, err)
	r, rest, err := round(log, 20, log.checkpoint(t, 20), p, nil).Collect(ctx)
	require.NoError(t, err)
	require.True(t, r.Verdict.Met)
	require.Equal(t, string(log.checkpoint(t, 20)), string(r.Note))
	require.Equal(t, r, rest())
	_, _, err = round(newHistory(t, origin), 20, log.checkpoint(t, 20), p, nil).Collect(ctx)
	require.Error(t, err, "a checkpoint of another log")

	// What came with the checkpoint is asked for anew, not believed.
	log, all, s, p := world(t)
	s["https://w0.example"], s["https://w1.example"] = down, down
	old, err := note.Sign(&note.Note{Text: string(textOf(log.checkpoint(t, 20)))}, log.signer, all[0].keys[0].At(noon), all[1].keys[0].At(noon))
	require.NoError(t, err)
	_, rest, err = round(log, 20, old, p, s).Collect(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"w0", "w1"}, rest().Verdict.Missing)
}

func TestEndpoints(t *testing.T) {
	a, b, c, d := ed(t, "w.example", 1), ed(t, "w.example/auditor", 2), ed(t, "x.example", 3), ed(t, "y.example", 4)
	p, err := transparency.ParsePolicy(fmt.Appendf(nil, "witness a %s https://w.example/\nwitness c %s https://x.example/\nwitness b %s https://w.example/\nwitness d %s\nquorum a\n",
		a.Key(), c.Key(), b.Key(), d.Key()))
	require.NoError(t, err)
	got := witness.Endpoints(p)
	require.Len(t, got, 2)
	require.Equal(t, "https://w.example/", got[0].URL)
	require.Len(t, got[0].Keys, 2, "a witness and its auditor are asked once")
	require.Equal(t, b.Key().String(), got[0].Keys[1].String())
}
