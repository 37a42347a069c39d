package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/transparency"
)

// evidence against a log that exists only here.
func evidence(t *testing.T) (text []byte, key string) {
	private, key, err := note.GenerateKey(nil, "b.example/waxwing/log/x")
	require.NoError(t, err)
	signer, err := note.NewSigner(private)
	require.NoError(t, err)
	sign := func(root byte) []byte {
		signed, err := transparency.SignCheckpoint(transparency.Checkpoint{Origin: signer.Name(), Size: 7, Root: tlog.Hash{root}}, signer)
		require.NoError(t, err)
		return signed
	}
	e, err := transparency.FindEvidence(key, sign(1), sign(2), tlog.Hash{}, nil)
	require.NoError(t, err)
	return e.Marshal(), key
}

func command(args ...string) (stdout string, err error) {
	var out bytes.Buffer
	root := newCommand(nil)
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&out)
	err = root.Execute()
	return out.String(), err
}

func TestVerifyEvidence(t *testing.T) {
	text, key := evidence(t)
	_, other := evidence(t)
	path := filepath.Join(t.TempDir(), "proof")
	put := func(b []byte) { require.NoError(t, os.WriteFile(path, b, 0o600)) }
	put(text)
	out, err := command("log", "evidence", "verify", path)
	require.NoError(t, err)
	require.Contains(t, out, "proven: the log b.example/waxwing/log/x has signed two histories")
	require.Contains(t, out, "see that it is that log's", "the key is only what the file says")
	out, err = command("log", "evidence", "verify", path, "--key", key)
	require.NoError(t, err)
	require.NotContains(t, out, "see that it is")
	out, err = command("--json", "log", "evidence", "verify", path, "--key", key)
	require.NoError(t, err)
	var v verified
	require.NoError(t, json.Unmarshal([]byte(out), &v))
	require.Equal(t, verified{Origin: "b.example/waxwing/log/x", Key: key, Trusted: true, Sizes: [2]int64{7, 7}}, v)

	_, err = command("log", "evidence", "verify", path, "--key", other)
	require.ErrorContains(t, err, "this proves nothing")
	for name, bad := range map[string][]byte{
		"empty": nil, "a byte less": text[:len(text)-1], "another root": bytes.Replace(text, []byte("\n7\n"), []byte("\n8\n"), 1),
		"too long": append(bytes.Clone(text), make([]byte, transparency.MaxEvidence)...),
	} {
		put(bad)
		_, err = command("log", "evidence", "verify", path)
		require.ErrorContains(t, err, "this proves nothing", name)
	}
	_, err = command("log", "evidence", "verify", path+"x")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestListAndSaveEvidence(t *testing.T) {
	text, _ := evidence(t)
	found := time.Unix(1_800_000_000, 0)
	list := []client.DistrustedLog{{Host: "b.example", Found: &found, Evidence: string(text)}, {Host: "c\x1b.example", Found: &found, Evidence: "x"}}
	var out bytes.Buffer
	c := &cli{}
	require.NoError(t, c.listEvidence(&out, list))
	require.Contains(t, out.String(), "b.example has shown two different histories (found 15 January 2027)")
	require.NotContains(t, out.String(), "\x1b")
	_, err := pickEvidence(list, nil)
	require.ErrorContains(t, err, "more than one")
	_, err = pickEvidence(list, []string{"d.example"})
	require.ErrorContains(t, err, "no such proof")
	e, err := pickEvidence(list, []string{"b.example"})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "proof")
	require.NoError(t, writeEvidence(&out, path, e))
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, text, got)
	require.ErrorIs(t, writeEvidence(&out, path, e), os.ErrExist, "a proof is not overwritten")
	out.Reset()
	require.NoError(t, writeEvidence(&out, "", e))
	require.Equal(t, string(text), out.String())
}

// TestHubEvidence: the proof against a hub is listed, written and checked with the others.
func TestHubEvidence(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	sign := func(at uint64) []byte {
		r := receipt.Receipt{Kind: receipt.KindCommit, GroupID: []byte{7}, Term: 1, Seq: 3, Epoch: 2, Time: at}
		r.Sign(private)
		return r.Marshal()
	}
	e, err := receipt.FindEvidence("https://b.example/waxwing/conversations/07", [32]byte(public), sign(1), sign(2))
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "proof")
	require.NoError(t, os.WriteFile(path, e.Marshal(), 0o600))
	key := base64.StdEncoding.EncodeToString(public)
	out, err := command("log", "evidence", "verify", path, "--key", key)
	require.NoError(t, err)
	require.Equal(t, "proven: a hub of https://b.example/waxwing/conversations/07 has signed two receipts of term 1 and number 3, that cannot both be\n", out)
	out, err = command("log", "evidence", "verify", path)
	require.NoError(t, err)
	require.Contains(t, out, "see that it is that hub's")
	for _, wrong := range []string{base64.StdEncoding.EncodeToString(make([]byte, 32)), "x"} {
		_, err = command("log", "evidence", "verify", path, "--key", wrong)
		require.ErrorContains(t, err, "this proves nothing")
	}
	require.NoError(t, os.WriteFile(path, e.Marshal()[1:], 0o600))
	_, err = command("log", "evidence", "verify", path)
	require.ErrorContains(t, err, "this proves nothing")

	found := time.Unix(1_800_000_000, 0)
	var list bytes.Buffer
	require.NoError(t, (&cli{}).listEvidence(&list, []client.DistrustedLog{{Host: "b.example", State: ofHub, Found: &found, Evidence: "x"}}))
	require.Contains(t, list.String(), "b.example has signed two different orders of a conversation's changes (found")
	require.Contains(t, list.String(), "waxwing log evidence b.example --hub")
}

// TestReadWarnsOfLogs: who reads is told in one sentence what is not believed, and of the rest nothing.
func TestReadWarnsOfLogs(t *testing.T) {
	logs := client.DistrustedLogs{Logs: []client.DistrustedLog{{Host: "b\x1b.test", State: "split"}, {Host: "c.test", State: "unproven"}}, Hubs: []client.LyingHub{{Host: "d\x1b.test"}}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _ = json.NewEncoder(w).Encode(logs) }))
	defer s.Close()
	var out bytes.Buffer
	r := &reader{agent: client.TCP(s.Listener.Addr().String(), ""), warnings: &out}
	require.NoError(t, r.warn(context.Background()))
	require.Equal(t, "! d\\u{1b}.test, which keeps the order of changes in a conversation of yours, has signed two different orders; the proof: waxwing log evidence --hub\n"+
		"! the log of b\\u{1b}.test has shown two different histories: no new keys from there are believed any more; the proof: waxwing log evidence\n"+
		"! the log of c.test has yet to prove that it shows everybody the same history: no new keys from there are believed until it does\n", out.String())
}
