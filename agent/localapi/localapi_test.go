package localapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/agent/localapi"
	"github.com/waxwing-dm/waxwing/agent/store/storetest"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/sandbox"
	"github.com/waxwing-dm/waxwing/sidecar/sidecartest"
)

var ctx = context.Background()

// The tests of this package share one sandbox: what they do to it does not get in each other's way.
var world *sandbox.Sandbox

func TestMain(m *testing.M) {
	storetest.Cheapen()
	sidecartest.StockKeys()
	dir, err := os.MkdirTemp("", "waxwing-localapi-")
	if err == nil {
		world, err = sandbox.Start(ctx, dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := world.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func requireProblem(t *testing.T, err error, status int, code string) *problem.Problem {
	t.Helper()
	var p *problem.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, fmt.Sprint(status, " ", code), fmt.Sprint(p.Status, " ", p.Code), p.Detail)
	require.NotEmpty(t, p.Detail)
	require.NotEmpty(t, p.Extra["help"], "%s does not say what to do next", code)
	return p
}

// unique makes an idempotency key that no run before had.
func unique(name string) string { return fmt.Sprint(name, "-", time.Now().UnixNano()) }

// within asks until the answer is yes.
func within(t *testing.T, what string, f func() bool) {
	t.Helper()
	require.Eventually(t, f, 30*time.Second, 10*time.Millisecond, what)
}

func TestTalk(t *testing.T) {
	alice, carol := world.Person("alice"), world.Person("carol")
	begun, err := alice.Start(ctx, carol.Handle)
	require.NoError(t, err)
	sent, err := alice.Send(ctx, unique("talk-1"), client.Outgoing{To: []string{carol.Handle}, Text: "hello <b>"})
	require.NoError(t, err)
	require.Equal(t, "@alice@a.test", sent.Sender)
	require.True(t, sent.Mine)
	id := sent.Conversation
	require.Equal(t, begun.ID, id, "the newest with just these people")
	within(t, "carol reads it", func() bool { _, err := carol.Conversation(ctx, id); return err == nil })
	within(t, "carol reads it", func() bool { m, err := carol.Messages(ctx, id, 0, 10); return err == nil && len(m.Messages) > 0 })
	page, err := carol.Messages(ctx, id, 0, 10)
	require.NoError(t, err)
	first := page.Messages[0]
	require.Equal(t, "hello <b>", first.Text)
	require.Equal(t, sent.ID, first.ID)
	require.Equal(t, "received", first.State)
	require.False(t, first.Mine)
	require.Equal(t, first.Seq, page.Next-uint64(len(page.Messages)-1))

	x, err := carol.Conversation(ctx, id)
	require.NoError(t, err)
	y, err := alice.Conversation(ctx, id)
	require.NoError(t, err)
	require.Equal(t, x.Safety, y.Safety)
	require.NotEmpty(t, x.Safety)
	require.Equal(t, []bool{true, false}, []bool{y.Members[0].Me, y.Members[1].Me})
	require.True(t, x.Members[0].Admin)
	list, err := alice.Conversations(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, list)
}

func TestContactSaysWhy(t *testing.T) {
	alice, bob := world.Person("alice"), world.Person("bob")
	c, err := alice.Contact(ctx, bob.Handle)
	require.NoError(t, err)
	require.NotNil(t, c.Believed)
	require.Contains(t, c.Believed.Log, "b.test/waxwing/log/")
	require.Contains(t, c.Believed.Sentence, "seen by w1.test (w1.test)")
	require.True(t, c.Believed.Auditor)
	require.NotNil(t, c.Believed.LogPinned)
	require.False(t, c.Changed)
	accepted, err := alice.AcceptKeys(ctx, bob.Handle, 0)
	require.NoError(t, err, "nothing to accept")
	require.Equal(t, c.Devices, accepted.Devices)
	_, err = alice.AcceptKeys(ctx, "bob", 0)
	requireProblem(t, err, 422, "handle_invalid")
}

func TestSendIsIdempotent(t *testing.T) {
	alice := world.Person("alice")
	out, once := client.Outgoing{To: []string{"@bob@b.test"}, Text: "once"}, unique("once")
	first, err := alice.Send(ctx, once, out)
	require.NoError(t, err)
	again, err := alice.Send(ctx, once, out)
	require.NoError(t, err)
	require.Equal(t, first.ID, again.ID)
	for _, other := range []client.Outgoing{
		{To: out.To, Text: "twice"}, {To: []string{"@carol@a.test"}, Text: "once"}, {Conversation: first.Conversation, Text: "once"},
	} {
		_, err := alice.Send(ctx, once, other)
		requireProblem(t, err, 409, "idempotency_conflict")
	}
}

func TestFiles(t *testing.T) {
	alice, bob := world.Person("alice"), world.Person("bob")
	c, err := alice.Start(ctx, bob.Handle)
	require.NoError(t, err)
	data := bytes.Repeat([]byte("<script>alert(1)</script>"), 1000)
	const name = "../\"evil\"\r\nX: y.html"
	sent, err := alice.SendFile(ctx, unique("file-1"), c.ID, name, "text/html", data)
	require.NoError(t, err)
	within(t, "bob has the file", func() bool { m, err := bob.Messages(ctx, c.ID, 0, 10); return err == nil && len(m.Messages) == 1 })
	page, err := bob.Messages(ctx, c.ID, 0, 10)
	require.NoError(t, err)
	m := page.Messages[0]
	require.Equal(t, sent.ID, m.ID)
	require.Equal(t, []client.Attachment{{N: 0, Name: name, MediaType: "text/html", Size: int64(len(data))}}, m.Attachments)
	got, err := bob.File(ctx, c.ID, m.Seq, 0)
	require.NoError(t, err)
	require.Equal(t, data, got)
	_, err = bob.File(ctx, c.ID, m.Seq, 1)
	requireProblem(t, err, 404, "no_such_message")
	_, err = bob.File(ctx, c.ID, m.Seq+1, 0)
	requireProblem(t, err, 404, "no_such_message")

	res := call(t, bob, http.MethodGet, fmt.Sprintf("/conversations/%s/messages/%d/files/0", c.ID, m.Seq), nil, nil)
	defer res.Body.Close()
	require.Equal(t, "application/octet-stream", res.Header.Get("Content-Type"), "whatever the sender says it is")
	require.True(t, strings.HasPrefix(res.Header.Get("Content-Disposition"), "attachment"))
	require.Contains(t, res.Header.Get("Content-Security-Policy"), "sandbox")
	require.Equal(t, "nosniff", res.Header.Get("X-Content-Type-Options"))
	require.Empty(t, res.Header.Get("X"))

	_, err = alice.SendFile(ctx, unique("file-2"), c.ID, "big", "", make([]byte, client.MaxFile+1))
	var p *problem.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, 413, p.Status)
}

func TestMembers(t *testing.T) {
	alice, bob, carol := world.Person("alice"), world.Person("bob"), world.Person("carol")
	c, err := alice.Start(ctx, bob.Handle)
	require.NoError(t, err)
	_, err = alice.Send(ctx, unique("members-1"), client.Outgoing{Conversation: c.ID, Text: "before"})
	require.NoError(t, err)
	_, err = alice.AddMembers(ctx, c.ID, carol.Handle)
	require.NoError(t, err)
	_, err = alice.Send(ctx, unique("members-2"), client.Outgoing{Conversation: c.ID, Text: "after"})
	require.NoError(t, err)
	within(t, "carol reads it", func() bool { m, err := carol.Messages(ctx, c.ID, 0, 10); return err == nil && len(m.Messages) == 1 })
	page, err := carol.Messages(ctx, c.ID, 0, 10)
	require.NoError(t, err)
	require.Equal(t, "after", page.Messages[0].Text)

	_, err = carol.AddMembers(ctx, c.ID, alice.Handle)
	requireProblem(t, err, 403, "not_allowed")
	_, err = carol.RemoveMember(ctx, c.ID, bob.Handle)
	require.Equal(t, "C3", requireProblem(t, err, 403, "not_allowed").Extra["check"])
	_, err = alice.RemoveMember(ctx, c.ID, alice.Handle)
	requireProblem(t, err, 422, "member_invalid")
	_, err = alice.RemoveMember(ctx, c.ID, bob.Handle)
	require.NoError(t, err)
	within(t, "bob is out", func() bool { x, err := bob.Conversation(ctx, c.ID); return err == nil && x.State == "left" })
	_, err = bob.Send(ctx, unique("members-3"), client.Outgoing{Conversation: c.ID, Text: "let me in"})
	requireProblem(t, err, 409, "removed")
	_, err = alice.Resume(ctx, c.ID)
	require.NoError(t, err, "nothing to resume is no error")
}

// TestAdmins: to be made one twice, or unmade twice, is no error, as with everything that can be asked again.
func TestAdmins(t *testing.T) {
	alice, bob, carol := world.Person("alice"), world.Person("bob"), world.Person("carol")
	c, err := alice.Start(ctx, bob.Handle)
	require.NoError(t, err)
	_, err = bob.SetAdmin(ctx, c.ID, bob.Handle, true)
	requireProblem(t, err, 404, "no_such_conversation")
	admins := func(p *sandbox.Person) (list []string) {
		x, err := p.Conversation(ctx, c.ID)
		if err != nil || x.Waiting > 0 {
			return nil
		}
		for _, m := range x.Members {
			if m.Admin {
				list = append(list, m.Handle)
			}
		}
		return list
	}
	_, err = alice.SetAdmin(ctx, c.ID, bob.Handle, true)
	require.NoError(t, err, "he is about to be there")
	_, err = alice.SetAdmin(ctx, c.ID, bob.Handle, true)
	require.NoError(t, err)
	within(t, "both know it", func() bool { return len(admins(alice)) == 2 && len(admins(bob)) == 2 })
	_, err = alice.SetAdmin(ctx, c.ID, carol.Handle, true)
	requireProblem(t, err, 404, "no_such_member")
	for range 2 {
		_, err = bob.SetAdmin(ctx, c.ID, alice.Handle, false)
		require.NoError(t, err)
		within(t, "bob alone", func() bool { return len(admins(alice)) == 1 && len(admins(bob)) == 1 })
	}
	_, err = bob.SetAdmin(ctx, c.ID, bob.Handle, false)
	requireProblem(t, err, 409, "last_admin")
	_, err = alice.SetAdmin(ctx, c.ID, bob.Handle, false)
	require.Equal(t, "C5", requireProblem(t, err, 403, "not_allowed").Extra["check"])
	_, err = alice.SetAdmin(ctx, "ffff", bob.Handle, true)
	requireProblem(t, err, 404, "no_such_conversation")
}

func TestRefusals(t *testing.T) {
	alice := world.Person("alice")
	if _, err := world.AddAccount("dave", sandbox.HostB); err != nil {
		require.ErrorContains(t, err, "it exists") // from the run before, if there are several
	}
	_, err := alice.Send(ctx, unique("dave-1"), client.Outgoing{To: []string{"@dave@b.test", "@bob@b.test"}, Text: "x"})
	require.Equal(t, []any{"@dave@b.test"}, requireProblem(t, err, 409, "recipient_not_ready").Extra["who"])
	x, err := alice.Contact(ctx, "@dave@b.test")
	require.NoError(t, err)
	require.Equal(t, "none", x.State)
	x, err = alice.Contact(ctx, "bob@b.test")
	require.NoError(t, err)
	require.Equal(t, "ready", x.State)
	require.Len(t, x.Devices, 1)

	for handle, want := range map[string]string{
		"@nobody@b.test": "404 no_such_recipient", "bob": "422 handle_invalid", "@bob@": "422 handle_invalid", "@bob@b.test/x": "422 handle_invalid",
		"@bob@user:pw@b.test": "422 handle_invalid", "@x@127.0.0.1": "422 address_refused", "@x@[::1]": "422 address_refused",
		"@x@169.254.169.254": "422 address_refused", "@x@b.test:1": "422 address_refused", "@x@localhost": "503 peer_unreachable",
	} {
		_, err := alice.Contact(ctx, handle)
		var p *problem.Problem
		require.ErrorAs(t, err, &p, handle)
		if handle == "@x@localhost" && p.Code == "address_refused" {
			continue // where the name leads is up to the machine
		}
		require.Equal(t, want, fmt.Sprint(p.Status, " ", p.Code), handle)
	}
	_, err = alice.Conversation(ctx, "ffff")
	requireProblem(t, err, 404, "no_such_conversation")
	_, err = alice.Messages(ctx, "ffff", 0, 10)
	requireProblem(t, err, 404, "no_such_conversation")
	_, err = alice.Send(ctx, unique("r-1"), client.Outgoing{Conversation: "ffff", Text: "x"})
	requireProblem(t, err, 404, "no_such_conversation")
	_, err = alice.Start(ctx, "@alice@a.test")
	requireProblem(t, err, 422, "member_invalid")
	_, err = alice.Login(ctx, alice.Handle, "wrong")
	requireProblem(t, err, 401, "login_refused")
	_, err = alice.Login(ctx, "@bob@b.test", "wrong")
	requireProblem(t, err, 409, "other_account")
	for name, out := range map[string]client.Outgoing{
		"no text": {To: []string{"@bob@b.test"}}, "nobody": {Text: "x"}, "both": {To: []string{"@bob@b.test"}, Conversation: "ff", Text: "x"},
		"long": {To: []string{"@bob@b.test"}, Text: strings.Repeat("x", client.MaxText+1)},
	} {
		_, err := alice.Send(ctx, unique("r-2"), out)
		var p *problem.Problem
		require.ErrorAs(t, err, &p, name)
		require.Equal(t, "422 request_invalid", fmt.Sprint(p.Status, " ", p.Code), name)
		require.NotContains(t, fmt.Sprint(p.Extra), "xxxx", "the answer repeats what was written")
	}
}

func TestBeforeLogin(t *testing.T) {
	a, err := agent.Open(agent.Config{Home: t.TempDir(), Passphrase: []byte("x")})
	require.NoError(t, err)
	l, err := localapi.ListenUnix(filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	serving, end := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- localapi.Serve(serving, a, l, "") }()
	c := client.Unix(l.Addr().String())
	for name, call := range map[string]func() error{
		"account":       func() error { _, err := c.Account(ctx); return err },
		"devices":       func() error { _, err := c.Devices(ctx); return err },
		"contact":       func() error { _, err := c.Contact(ctx, "@bob@b.test"); return err },
		"conversations": func() error { _, err := c.Conversations(ctx); return err },
	} {
		t.Run(name, func(t *testing.T) { requireProblem(t, call(), 409, "not_logged_in") })
	}
	end()
	require.NoError(t, <-done)
	_, err = c.Account(ctx)
	require.ErrorIs(t, err, client.ErrNoAgent)
	require.NoError(t, a.Close())
}

// call makes a request with the person's token and nothing else but what is given.
func call(t *testing.T, p *sandbox.Person, method, path string, body io.Reader, header http.Header) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+p.Address+"/v1"+path, body)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+p.Token)
	for name, values := range header {
		req.Header[name] = values
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	return res
}

func TestDescription(t *testing.T) {
	res := call(t, world.Person("alice"), http.MethodGet, "/openapi.json", nil, nil)
	defer res.Body.Close()
	require.Equal(t, 200, res.StatusCode)
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			Summary   string
			Responses map[string]struct{ Content map[string]any }
		}
	}
	require.NoError(t, json.NewDecoder(res.Body).Decode(&doc))
	require.Equal(t, "3.1.0", doc.OpenAPI)
	require.Equal(t, 31, len(doc.Paths))
	for path, operations := range doc.Paths {
		for method, op := range operations {
			require.NotEmpty(t, op.Summary, path)
			_, ok := op.Responses["401"].Content[problem.ContentType]
			require.True(t, ok, "%s %s", method, path)
		}
	}
}

// TestNoLogIsDistrusted that has done nothing.
func TestNoLogIsDistrusted(t *testing.T) {
	alice, bob := world.Person("alice"), world.Person("bob")
	_, err := alice.Contact(ctx, bob.Handle)
	require.NoError(t, err)
	logs, err := alice.Distrusted(ctx)
	require.NoError(t, err)
	require.Empty(t, logs.Logs)
	require.Empty(t, logs.Hubs)
}
