package witness_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/witness"
)

func (overHTTP) Get(ctx context.Context, url string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, witness.MaxResponse+1))
	return resp.StatusCode, b, err
}

// said is a witness that answers the same thing to everybody.
type said struct {
	status int
	answer []byte
	err    error
}

func (s said) Get(context.Context, string) (int, []byte, error) { return s.status, s.answer, s.err }

func TestNewest(t *testing.T) {
	l := newHistory(t, origin).grow(t, 9, "red")
	b := newBench(t, []*history{l}, ed(t, "w.example/witness", 1))
	e := witness.Endpoint{URL: b.serve(t) + "/"}
	_, ok, err := e.Newest(ctx, overHTTP{}, l.key)
	require.NoError(t, err)
	require.False(t, ok, "nothing yet")
	require.Equal(t, 200, b.add(t, l.body(t, 0, 5)).Status)
	c, ok, err := e.Newest(ctx, overHTTP{}, l.key)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, transparency.Checkpoint{Origin: origin, Size: 5, Root: l.root(t, 5)}, c)

	errLine := errors.New("the line is dead")
	other := newHistory(t, origin).grow(t, 9, "red")
	for name, s := range map[string]said{
		"no line": {err: errLine}, "another status": {status: 500}, "a redirect": {status: 301}, "nothing": {status: 200},
		"another log's": {status: 200, answer: newHistory(t, "b.example/log").grow(t, 2, "x").checkpoint(t, 2)},
		"another key's": {status: 200, answer: other.checkpoint(t, 9)},
		"a long one":    {status: 200, answer: append(l.checkpoint(t, 5), make([]byte, witness.MaxResponse)...)},
		"spoilt":        {status: 200, answer: append([]byte("x"), l.checkpoint(t, 5)...)},
	} {
		_, ok, err := e.Newest(ctx, s, l.key)
		require.Error(t, err, name)
		require.False(t, ok, name)
	}
}

// TestMerge: of each witness the newest, of nobody else anything.
func TestMerge(t *testing.T) {
	l := newHistory(t, origin).grow(t, 9, "red")
	one, two, three := ed(t, "w0.example/w", 1), ed(t, "w1.example/w", 2), ed(t, "w2.example/w", 3)
	p := twoOfThree(t, []string{"", "", ""}, one, two, three)
	with := func(size int64, by ...note.Signer) []byte {
		n, err := note.Open(l.checkpoint(t, size), note.VerifierList(l.key))
		require.NoError(t, err)
		signed, err := note.Sign(n, by...)
		require.NoError(t, err)
		return signed
	}
	stranger := ed(t, "x.example/w", 4)
	joined, err := witness.Merge(l.key, p, with(5, one.At(noon), stranger.At(noon)), with(5, two.At(noon+2), one.At(noon+9)), with(5, one.At(noon+3)))
	require.NoError(t, err)
	require.False(t, bytes.Contains(joined, []byte("x.example")))
	v, err := p.Evaluate(joined, l.key)
	require.NoError(t, err)
	require.True(t, v.Met)
	require.Equal(t, []string{"w2"}, v.Missing)
	require.Equal(t, []int64{noon + 9, noon + 2}, []int64{v.Cosigned[0].Time, v.Cosigned[1].Time})
	_, err = witness.Merge(l.key, p, with(5, one.At(noon)), with(6, two.At(noon)))
	require.ErrorContains(t, err, "two checkpoints")
	for name, bad := range map[string][]byte{
		"nothing": nil, "another key's": newHistory(t, origin).grow(t, 5, "red").checkpoint(t, 5),
	} {
		_, err := witness.Merge(l.key, p, with(5), bad)
		require.Error(t, err, name)
	}
}
