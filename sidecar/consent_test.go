package sidecar_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/mls"
)

// from is an activity of one of the peer's users, signed by their instance.
func (p *peer) from(user string, message []byte, to string) *delivery {
	d := p.delivery(to)
	who := p.instance + "/users/" + user
	d.signer, d.activity["actor"] = p.instance+federation.PathActor, who
	d.object()["attributedTo"], d.object()["content"] = who, base64.StdEncoding.EncodeToString(message)
	d.object()["conversation"] = p.instance + "/waxwing/conversations/" + user
	return d
}

// TestFloodOfStrangers: a thousand of one instance leave what twenty may, use up no key package, and keep nobody else out.
func TestFloodOfStrangers(t *testing.T) {
	w := newWorld(t)
	a, p, q := w.box("a.test"), w.peer("c.test"), w.peer("d.test")
	a.start()
	alice := a.careful("alice")
	_, err := alice.PutKeyPackages(ctx, clientapi.KeyPackages{
		OneTime: []clientapi.Bytes{alice.keyPackage(false), alice.keyPackage(false)}, LastResort: alice.keyPackage(true),
	})
	require.NoError(t, err)
	answers := map[string]int{}
	for i := range 1000 {
		user := fmt.Sprint("u", i)
		if i%20 == 0 {
			status, claimed := p.claim(alice.actor, p.instance+"/users/"+user)
			require.Equal(t, 200, status)
			require.True(t, claimed[0].LastResort)
		}
		status, code := p.send(p.from(user, welcome("come in"), alice.actor))
		answers[fmt.Sprint(status, " ", code)]++
	}
	require.Equal(t, map[string]int{"202 accepted": 20, "403 consent_required": 980}, answers)
	require.Equal(t, 20, alice.waiting())
	account, err := alice.Account(ctx)
	require.NoError(t, err)
	require.Equal(t, 2, account.OneTime)
	status, _ := q.send(q.from("honest", welcome("good day"), alice.actor))
	require.Equal(t, 202, status)
	all, err := alice.Consents(ctx)
	require.NoError(t, err)
	require.Len(t, all.Waiting, 21)
	require.Equal(t, "requests", all.Policy.Policy)
}

func (p *peer) claim(actor, user string) (int, []clientapi.ClaimedPackage) {
	body, err := json.Marshal(federation.ClaimRequest{Actor: actor, For: user})
	require.NoError(p.w.t, err)
	d := p.delivery()
	d.path, d.contentType, d.signer, d.raw = federation.PathClaim, "application/json", p.instance+federation.PathActor, body
	var claimed clientapi.Claimed
	status, answer := p.request(d)
	if status == http.StatusOK {
		require.NoError(p.w.t, json.Unmarshal(answer, &claimed))
	}
	return status, claimed.Packages
}

// TestClaimsAskForConsent: who gets which package.
func TestClaimsAskForConsent(t *testing.T) {
	w := newWorld(t)
	a, p := w.box("a.test"), w.peer("c.test")
	a.start()
	alice, bob := a.careful("alice"), a.careful("bob")
	_, err := alice.PutKeyPackages(ctx, clientapi.KeyPackages{
		OneTime: []clientapi.Bytes{alice.keyPackage(false), alice.keyPackage(false)}, LastResort: alice.keyPackage(true),
	})
	require.NoError(t, err)
	get := func(user string) string {
		status, claimed := p.claim(alice.actor, user)
		switch {
		case status != http.StatusOK:
			return fmt.Sprint(status)
		case claimed[0].LastResort:
			return "last resort"
		}
		return "one-time"
	}
	decide := func(decision string) {
		require.NoError(t, alice.Decide(ctx, clientapi.Decision{Actor: p.mallory(), Decision: decision}))
	}
	require.Equal(t, "last resort", get(p.mallory()))
	require.Equal(t, "last resort", get(""))
	require.Equal(t, "403", get(bob.actor), "somebody of another instance")
	neighbour, err := bob.Claim(ctx, alice.actor)
	require.NoError(t, err)
	require.True(t, neighbour[0].LastResort)
	decide(clientapi.Accept)
	require.Equal(t, "one-time", get(p.mallory()))
	decide(clientapi.Block)
	require.Equal(t, "last resort", get(p.mallory()), "as if there were no others")
	require.NoError(t, alice.AskStrangers(ctx, clientapi.FromNobody))
	require.Equal(t, "last resort", get(p.mallory()))
	require.Equal(t, "403", get(p.instance+"/users/other"))
	_, err = bob.Claim(ctx, alice.actor)
	requireProblem(t, err, 403, "consent_required")
	decide(clientapi.Unblock)
	require.Equal(t, "one-time", get(p.mallory()))
	_, body := a.get("/users/alice/key-packages")
	require.NotContains(t, string(body), `"content"`, "nobody is asked to write to who wants to hear from nobody")
}

// TestDecisionsRefused: what is no decision changes nothing.
func TestDecisionsRefused(t *testing.T) {
	a := newWorld(t).box("a.test").start()
	alice := a.careful("alice")
	for name, d := range map[string]clientapi.Decision{
		"no decision":         {Actor: "http://b.test/users/bob"},
		"of no kind":          {Actor: "http://b.test/users/bob", Decision: "like"},
		"no actor":            {Actor: "bob", Decision: clientapi.Accept},
		"oneself":             {Actor: alice.actor, Decision: clientapi.Block},
		"no URL of a meeting": {Actor: "http://b.test/users/bob", Decision: clientapi.Accept, Conversation: "c"},
	} {
		requireProblem(t, alice.Decide(ctx, d), 400, "request_invalid")
		require.NotEmpty(t, name)
	}
	requireProblem(t, alice.AskStrangers(ctx, "friends"), 400, "request_invalid")
	all, err := alice.Consents(ctx)
	require.NoError(t, err)
	require.Equal(t, clientapi.Consents{Policy: clientapi.Policy{Policy: "requests"}, Waiting: []clientapi.Request{}}, all)
	var last error
	for range 300 {
		if last = alice.AskStrangers(ctx, clientapi.FromNobody); last != nil {
			break
		}
	}
	requireProblem(t, last, 429, "rate_limited")
}

// TestHeldUntilAccepted: what has no room before bob accepts alice waits at her instance, over restarts of both, and arrives after it.
func TestHeldUntilAccepted(t *testing.T) {
	w, a, b := two(t)
	alice, bob := a.careful("alice"), b.careful("bob")
	r := alice.open()
	_, err := alice.Commit(ctx, r.commit(0, "add bob", nil, bob.actor))
	require.NoError(t, err)
	bob.await(1)
	large := r.message("large", bob.actor)
	large.Message = ciphertext(r.groupID, 1, mls.ContentApplication, strings.Repeat("x", 9<<10))
	require.NoError(t, alice.Send(ctx, large))
	require.NoError(t, alice.Send(ctx, r.message("small", bob.actor)))
	require.Equal(t, "small", texts(bob.await(2))[1], "it does not hold up what has room")
	b.stop()
	b.start()
	a.stop()
	a.start()
	w.advance(10 * 24 * time.Hour)
	require.Never(t, func() bool { return bob.waiting() > 2 }, time.Second, 100*time.Millisecond)
	require.Zero(t, alice.waiting())
	all, err := bob.Consents(ctx)
	require.NoError(t, err)
	require.Equal(t, alice.actor, all.Waiting[0].Actor)
	require.NoError(t, bob.Decide(ctx, clientapi.Decision{Actor: alice.actor, Conversation: all.Waiting[0].Conversation, Decision: clientapi.Accept}))
	require.NoError(t, bob.Send(ctx, r.message("hello alice", alice.actor)))
	alice.await(1)
	require.Len(t, bob.await(3)[2].Message, len(large.Message), "bob has written, so it is tried at once")
}

// TestNeverAccepted: after fourteen days its sender is told.
func TestNeverAccepted(t *testing.T) {
	w := newWorld(t)
	w.stopClock() // no request shall be under way when the days go by
	a, b := w.box("a.test"), w.box("b.test").start()
	answered := make(chan int, 100)
	a.wrap = func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			res, err := next.RoundTrip(r)
			if err == nil && r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/inbox") {
				select {
				case answered <- res.StatusCode:
				default:
				}
			}
			return res, err
		})
	}
	a.start()
	alice, bob := a.careful("alice"), b.careful("bob")
	require.NoError(t, alice.Send(ctx, alice.open().message("hello", bob.actor)))
	for status := range answered { // it may be busy at first
		require.NotEqual(t, http.StatusAccepted, status)
		if status == http.StatusForbidden {
			break
		}
	}
	require.Never(t, func() bool { return alice.waiting() > 0 }, time.Second, 100*time.Millisecond)
	w.advance(15 * 24 * time.Hour)
	note := alice.await(1)[0]
	require.Equal(t, []clientapi.Missed{{Actor: bob.actor, Code: "consent_required", Detail: "they have not accepted it"}}, note.Undelivered.To)
	require.Zero(t, bob.waiting())
}

// TestNothingIsAskedForStrangers: their Welcome makes this sidecar ask nobody about the conversation that it names.
func TestNothingIsAskedForStrangers(t *testing.T) {
	w := newWorld(t)
	a, p := w.box("a.test"), w.peer("c.test")
	var asked []string
	a.wrap = func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			w.mu.Lock()
			asked = append(asked, r.URL.String())
			w.mu.Unlock()
			return next.RoundTrip(r)
		})
	}
	a.start()
	alice := a.careful("alice")
	other := w.peer("d.test")
	r := &room{t: t, groupID: make([]byte, 32), url: "http://d.test/waxwing/conversations/" + strings.Repeat("00", 32)}
	c := r.message("x")
	d := p.from("mallory", c.Message, alice.actor)
	d.object()["conversation"], d.object()["waxwing:receipt"] = r.url, base64.StdEncoding.EncodeToString(make([]byte, 200))
	first := p.from("mallory", welcome("w"), alice.actor)
	first.object()["conversation"], first.object()["waxwing:receipt"] = r.url, base64.StdEncoding.EncodeToString(make([]byte, 200))
	for _, x := range []*delivery{first, d} {
		status, code := p.send(x)
		require.Equal(t, []any{202, "accepted"}, []any{status, code})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	require.NotEmpty(t, asked)
	for _, u := range asked {
		require.True(t, strings.HasPrefix(u, p.instance+"/"), "%s; %s is none of ours", u, other.instance)
	}
}

// TestTalkOfAConversationIsAccepted: it can be, without anybody in it being accepted.
func TestTalkOfAConversationIsAccepted(t *testing.T) {
	w := newWorld(t)
	a, p := w.box("a.test"), w.peer("c.test")
	a.start()
	alice := a.careful("alice")
	status, _ := p.send(p.delivery(alice.actor))
	require.Equal(t, 403, status)
	require.NoError(t, alice.Decide(ctx, clientapi.Decision{Conversation: "http://c.test/waxwing/conversations/67", Decision: clientapi.Accept}))
	status, _ = p.send(p.delivery(alice.actor))
	require.Equal(t, 202, status)
	alice.await(1)
	status, _ = p.send(p.from("mallory", ciphertext([]byte("other"), 0, mls.ContentApplication, "x"), alice.actor))
	require.Equal(t, 403, status)
	requireProblem(t, alice.Decide(ctx, clientapi.Decision{Conversation: "http://c.test/c", Decision: clientapi.Block}), 400, "request_invalid")
}

// TestConversationsNameOpensNoFlood: who merely names a conversation that somebody is in, or is blocked, leaves so much with them and no more, until
// they have read it. Whoever they know themselves has the whole mailbox.
func TestConversationsNameOpensNoFlood(t *testing.T) {
	w := newWorld(t)
	a, p := w.box("a.test"), w.peer("c.test")
	a.start()
	alice := a.careful("alice")
	r := alice.open()
	friend := p.instance + "/users/friend"
	require.NoError(t, alice.Send(ctx, r.message("hello", friend, p.instance+"/users/another")))
	large := ciphertext(r.groupID, 0, mls.ContentApplication, strings.Repeat("x", 600<<10))
	fill := func(user string, most int) (n int) {
		for ; n < most; n++ {
			d := p.from(user, large, alice.actor)
			d.object()["conversation"], d.object()["waxwing:receipt"] = r.url, base64.StdEncoding.EncodeToString(make([]byte, 200))
			if status, code := p.send(d); status != 202 {
				require.Equal(t, []any{429, "stranger_limited"}, []any{status, code})
				break
			}
		}
		return n
	}
	require.Equal(t, 13, fill("mallory", 100), "8 MiB of one")
	require.Equal(t, 13, fill("friend", 100), "another member of the conversation")
	require.NoError(t, alice.Acknowledge(ctx, 26))
	require.Equal(t, 13, fill("mallory", 100), "what is read makes room")
	require.NoError(t, alice.Decide(ctx, clientapi.Decision{Actor: p.instance + "/users/mallory", Decision: clientapi.Block}))
	require.Zero(t, fill("mallory", 100), "their commits are followed, and that is all")
	require.NoError(t, alice.Decide(ctx, clientapi.Decision{Actor: friend, Decision: clientapi.Accept}))
	require.Equal(t, 20, fill("friend", 20), "who is accepted is no stranger")
}
