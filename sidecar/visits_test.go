package sidecar_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/sidecar"
)

// unproven are activities that are refused before it is known who has sent them; key is whom they claim to be.
func (p *peer) unproven(to, key string) map[string]*delivery {
	all := map[string]*delivery{}
	for name, spoil := range map[string]func(*delivery){
		"no JSON":   func(d *delivery) { d.raw = []byte("{") },
		"no actor":  func(d *delivery) { d.raw = []byte(`{"id":"x","type":"Create"}`) },
		"old":       func(d *delivery) { d.at = d.at.Add(-time.Hour) },
		"digest":    func(d *delivery) { d.after = func(r *http.Request) { r.Header.Set("Digest", "SHA-256=AAAA") } },
		"no digest": func(d *delivery) { d.after = func(r *http.Request) { r.Header.Del("Digest") } },
		"signature": func(d *delivery) {},
		"its actor": func(d *delivery) { d.activity["actor"], d.object()["attributedTo"] = key, key },
	} {
		d := p.delivery(to)
		d.keyID = federation.KeyID(key)
		spoil(d)
		all[name] = d
	}
	return all
}

// TestNobodySpendsWhatIsAnothers: who claims another's key takes nothing from them, whatever happens then.
func TestNobodySpendsWhatIsAnothers(t *testing.T) {
	w := newWorld(t)
	a, p, victim := w.box("a.test"), w.peer("c.test"), w.peer("d.test")
	a.start()
	alice := a.person("alice")
	for name, d := range p.unproven(alice.actor, victim.mallory()) {
		for range 3 {
			status, code := p.send(d)
			require.Contains(t, []int{400, 401}, status, "%s: %s", name, code)
		}
	}
	for _, who := range []string{victim.mallory(), victim.instance, p.mallory(), p.instance} {
		require.Zero(t, a.Spent(who), who)
	}
	d := p.delivery(alice.actor)
	d.activity["actor"], d.object()["attributedTo"] = victim.mallory(), victim.mallory()
	status, code := p.send(d)
	require.Equal(t, []any{403, "actor_key_mismatch"}, []any{status, code})
	require.Zero(t, a.Spent(victim.mallory())+a.Spent(victim.instance), "who only writes another's name takes nothing from them either")
	require.Equal(t, 1, a.Spent(p.instance), "it was signed, and not by them")
	status, _ = victim.send(victim.delivery(alice.actor))
	require.Equal(t, 202, status)
}

// TestWhoHasSignedPays: whatever is wrong with what somebody has signed counts for their instance, and once.
func TestWhoHasSignedPays(t *testing.T) {
	w := newWorld(t)
	w.stands = time.Now()
	a, p := w.box("a.test"), w.peer("c.test")
	a.start()
	alice := a.person("alice")
	spent := 0
	for name, spoil := range map[string]func(*delivery){
		"not MLS":      func(d *delivery) { d.object()["content"] = "AAAA" },
		"nobody":       func(d *delivery) { d.activity["to"], d.object()["to"] = "http://a.test/users/nobody", nil },
		"not for us":   func(d *delivery) { d.activity["object"] = "http://c.test/x" },
		"not its own":  func(d *delivery) { d.object()["id"] = "http://d.test/x" },
		"a neighbour":  func(d *delivery) { d.activity["actor"] = p.instance + "/users/other" },
		"all is right": func(*delivery) {},
		"a hub's call": func(d *delivery) {
			d.path, d.signer = "/waxwing/conversations/00/lease", p.instance+federation.PathActor
		},
		"no instance's": func(d *delivery) {
			d.path, d.contentType = federation.PathClaim, "application/json"
		},
	} {
		d := p.delivery(alice.actor)
		spoil(d)
		status, code := p.send(d)
		require.NotContains(t, []int{401, 429, 500, 503}, status, "%s: %s", name, code)
		spent++
		require.Equal(t, spent, a.Spent(p.instance), name)
	}
	get, _ := p.signedGet("http://a.test/users/nobody/key-packages", p.mallory())
	require.Equal(t, 404, get)
	require.Equal(t, spent+1, a.Spent(p.instance))
	get, _ = p.signedGet(alice.actor+"/key-packages", p.mallory())
	require.Equal(t, 200, get)
	require.Equal(t, spent+1, a.Spent(p.instance), "a call that is answered has budgets of its own")
}

// TestWhoHasNothingLeftIsTurnedAwayFirst: nothing else is looked at then, and others are answered as ever.
func TestWhoHasNothingLeftIsTurnedAwayFirst(t *testing.T) {
	w := newWorld(t)
	a, p, other := w.box("a.test"), w.peer("c.test"), w.peer("d.test")
	a.start()
	alice := a.person("alice")
	for _, who := range []string{p.instance, p.mallory()} {
		a.Exhaust(who)
		for name, d := range p.unproven(alice.actor, p.mallory()) {
			status, code := p.send(d)
			require.Equal(t, []any{429, "rate_limited"}, []any{status, code}, name)
		}
		d := p.delivery(alice.actor)
		d.contentType = "text/plain"
		status, _ := p.send(d)
		require.Equal(t, 429, status)
		status, _ = other.send(other.delivery(alice.actor))
		require.Equal(t, 202, status)
		w.advance(3 * time.Minute)
		d = p.delivery(alice.actor)
		status, _ = p.send(d)
		require.Equal(t, 202, status, "it comes back")
	}
	a.Exhaust(p.instance)
	get, body := p.signedGet(alice.actor+"/key-packages", p.mallory())
	require.Equal(t, 429, get, string(body))
	d := p.delivery(alice.actor)
	d.signer = ""
	status, code := p.send(d)
	require.Equal(t, []any{401, "signature_missing"}, []any{status, code}, "who claims nothing has an answer that costs nothing")
}

// TestAddressesPay: where it is known where calls come from, those whose sender is not known count for that.
func TestAddressesPay(t *testing.T) {
	w := newWorld(t)
	w.stands = time.Now()
	a, p, other := w.box("a.test"), w.peer("c.test"), w.peer("d.test")
	a.behind = "x-forwarded-for"
	a.start()
	alice := a.person("alice")
	from := func(d *delivery, address string) *delivery {
		before := d.after
		d.after = func(r *http.Request) {
			if before != nil {
				before(r)
			}
			r.Header.Set("X-Forwarded-For", address)
		}
		return d
	}
	spent := 0
	for name, d := range p.unproven(alice.actor, other.mallory()) {
		status, code := p.send(from(d, "1.1.1.1, 9.9.9.9"))
		require.Contains(t, []int{400, 401}, status, "%s: %s", name, code)
		spent++
		require.Equal(t, spent, a.Spent("9.9.9.9/32"), name)
	}
	for _, keyID := range []string{"http://gone.test/users/x#main-key", p.instance + "/users/nobody#main-key"} {
		d := p.delivery(alice.actor)
		d.keyID = keyID
		p.send(from(d, "9.9.9.9"))
		spent++
		require.Equal(t, spent, a.Spent("9.9.9.9/32"), "who makes us ask for keys in vain")
	}
	status, _ := p.send(from(p.delivery(alice.actor), "9.9.9.9"))
	require.Equal(t, 202, status)
	require.Equal(t, spent, a.Spent("9.9.9.9/32"), "what is signed well is the instance's")
	require.Zero(t, a.Spent("1.1.1.1/32"), "which anybody can write")

	a.Exhaust("9.9.9.9/32")
	status, code := p.send(from(p.delivery(alice.actor), "9.9.9.9"))
	require.Equal(t, []any{429, "rate_limited"}, []any{status, code}, "whatever it is")
	status, _ = p.send(from(p.delivery(alice.actor), "9.9.9.9, 1.1.1.1"))
	require.Equal(t, 202, status)
	status, _ = p.send(p.delivery(alice.actor))
	require.Equal(t, 202, status, "and who has no address is not turned away")
	require.NoError(t, alice.Send(ctx, alice.open().message("to somebody", other.mallory())), "nor are people")
}

func TestWhereCallsComeFrom(t *testing.T) {
	for _, c := range []struct{ connection, header, said, want string }{
		{"1.1.1.1:5", "", "", "1.1.1.1/32"},
		{"[2606:4700:0:1::1]:5", "", "", "2606:4700:0:1::/64"},
		{"1.1.1.1:5", "X-Real-IP", "9.9.9.9", "1.1.1.1/32"}, // it is no proxy of ours
		{"127.0.0.1:5", "", "9.9.9.9", ""},
		{"127.0.0.1:5", "X-Real-IP", "", ""},
		{"127.0.0.1:5", "X-Real-IP", "9.9.9.9", "9.9.9.9/32"},
		{"10.0.0.1:5", "x-real-ip", " 9.9.9.9:80 ", "9.9.9.9/32"},
		{"[::1]:5", "X-Real-IP", "9.9.9.9,8.8.8.8, 2606:4700:0:1::1", "2606:4700:0:1::/64"},
		{"[::1]:5", "X-Real-IP", "[2606:4700:0:1::1]:80", "2606:4700:0:1::/64"},
		{"[::1]:5", "X-Real-IP", "[2606:4700:0:1::1]", "2606:4700:0:1::/64"},
		{"[::1]:5", "X-Real-IP", "::ffff:9.9.9.9", "9.9.9.9/32"},
		{"127.0.0.1:5", "X-Real-IP", "10.0.0.1", ""},
		{"127.0.0.1:5", "X-Real-IP", "9.9.9.9,", ""},
		{"127.0.0.1:5", "X-Real-IP", "unknown", ""},
		{"127.0.0.1:5", "X-Real-IP", "fe80::1%eth0", ""},
		{"@", "X-Real-IP", "9.9.9.9", "9.9.9.9/32"}, // a Unix socket
	} {
		r := &http.Request{RemoteAddr: c.connection, Header: http.Header{}}
		r.Header.Add("X-Real-IP", "8.8.8.8")
		r.Header.Add("X-Real-IP", c.said)
		require.Equal(t, c.want, sidecar.CallerOf(c.header, r), "%+v", c)
	}
}
