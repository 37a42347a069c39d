package safehttp_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/safehttp"
)

// special is what the IANA registries of special-purpose and multicast addresses say, and what else leads inside. It is written from
// the registries and not from the list of the package.
var special = map[string]string{
	"this network": "0.0.0.0/8", "private 10": "10.0.0.0/8", "shared": "100.64.0.0/10", "loopback": "127.0.0.0/8", "link-local": "169.254.0.0/16",
	"private 172": "172.16.0.0/12", "protocol assignments": "192.0.0.0/24", "DS-Lite": "192.0.0.0/29", "dummy": "192.0.0.8/32",
	"PCP anycast": "192.0.0.9/32", "TURN anycast": "192.0.0.10/32", "NAT64 discovery": "192.0.0.170/31", "documentation 1": "192.0.2.0/24",
	"AS112": "192.31.196.0/24", "AMT": "192.52.193.0/24", "6to4 relays": "192.88.99.0/24", "private 192": "192.168.0.0/16",
	"AS112 delegation": "192.175.48.0/24", "benchmarks": "198.18.0.0/15", "documentation 2": "198.51.100.0/24", "documentation 3": "203.0.113.0/24",
	"multicast": "224.0.0.0/4", "multicast, scoped": "239.0.0.0/8", "reserved": "240.0.0.0/4", "broadcast": "255.255.255.255/32",
	"metadata": "169.254.169.254/32", "metadata of Alibaba": "100.100.100.200/32", "metadata of Oracle": "192.0.0.192/32", "metadata of Azure": "168.63.129.16/32",

	"v6 unspecified": "::/128", "v6 loopback": "::1/128", "v4-compatible": "::/96", "v4-mapped": "::ffff:0:0/96", "v4-translated": "::ffff:0:0:0/96",
	"NAT64": "64:ff9b::/96", "NAT64 local": "64:ff9b:1::/48", "discard": "100::/64", "dummy v6": "100:0:0:1::/64", "v6 assignments": "2001::/23",
	"Teredo": "2001::/32", "PCP v6": "2001:1::1/128", "TURN v6": "2001:1::2/128", "DNS-SD": "2001:1::3/128", "benchmarks v6": "2001:2::/48",
	"AMT v6": "2001:3::/32", "AS112 v6": "2001:4:112::/48", "ORCHID": "2001:10::/28", "ORCHIDv2": "2001:20::/28", "drones": "2001:30::/28",
	"v6 documentation": "2001:db8::/32", "6to4": "2002::/16", "AS112 v6 delegation": "2620:4f:8000::/48", "v6 documentation 2": "3fff::/20",
	"SRv6": "5f00::/16", "ULA": "fc00::/7", "ULA in use": "fd00::/8", "metadata v6": "fd00:ec2::254/128", "v6 link-local": "fe80::/10",
	"site-local": "fec0::/10", "v6 multicast": "ff00::/8", "all nodes": "ff02::1/128", "unassigned 4": "4000::/3", "unassigned 8": "8000::/3",
	"unassigned e": "e000::/4",
}

// ends are a block's first address, its last, and one in its middle.
func ends(block string) []netip.Addr {
	p := netip.MustParsePrefix(block)
	last, middle := p.Addr().AsSlice(), p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(last)*8; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
		if (bit-p.Bits())%3 == 0 {
			middle[bit/8] |= 0x80 >> (bit % 8)
		}
	}
	a, b := addr(middle), addr(last)
	return []netip.Addr{p.Addr(), a, b}
}

func addr(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

// A resolver is a DNS server that says what a test wants, each time a name is asked for.
type resolver struct {
	mu      sync.Mutex
	answers map[string][][]netip.Addr // by name; the last one stays
}

func (r *resolver) say(name string, answers ...[]netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[name] = answers
}

// now is what a name resolves to now; then makes the next answer the one that counts.
func (r *resolver) now(name string) []netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.answers[name]; len(a) > 0 {
		return a[0]
	}
	return nil
}

func (r *resolver) then(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[name] = r.answers[name][1:]
}

func (r *resolver) net() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go r.serve(theirs)
		return ours, nil
	}}
}

// serve answers A and AAAA by DNS over a stream (RFC 1035).
func (r *resolver) serve(c net.Conn) {
	defer c.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		q := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, q); err != nil {
			return
		}
		var labels []string
		at := 12
		for q[at] != 0 {
			labels = append(labels, string(q[at+1:at+1+int(q[at])]))
			at += 1 + int(q[at])
		}
		question := q[12 : at+5]
		kind := binary.BigEndian.Uint16(q[at+1:])
		var records []byte
		n := 0
		for _, a := range r.now(strings.ToLower(strings.Join(labels, "."))) {
			data := a.AsSlice()
			if kind == 1 && len(data) != 4 || kind == 28 && len(data) != 16 || kind != 1 && kind != 28 {
				continue
			}
			records = append(records, 0xc0, 12, byte(kind>>8), byte(kind), 0, 1, 0, 0, 0, 0, 0, byte(len(data)))
			records = append(records, data...)
			n++
		}
		answer := append(append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, byte(n), 0, 0, 0, 0}, question...), records...)
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

var errSeen = errors.New("let through")

// A gate is a client of which every connection that passes its door is noted, and none is made.
type gate struct {
	*safehttp.Client
	names *resolver
	mu    sync.Mutex
	seen  []string
}

func newGate(t *testing.T) *gate {
	g := &gate{Client: safehttp.New(safehttp.Config{}), names: &resolver{answers: map[string][][]netip.Addr{}}}
	g.Watch(g.names.net(), func(address string) error {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.seen = append(g.seen, address)
		return errSeen
	})
	t.Cleanup(g.CloseIdle)
	return g
}

func (g *gate) passed() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	seen := g.seen
	g.seen = nil
	return seen
}

func (g *gate) ask(t *testing.T, u string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	require.NoError(t, err, u)
	_, err = g.Do(req, 10)
	require.Error(t, err, u)
	return err
}

var public = netip.MustParseAddr("93.184.216.34")

// literal is an address in a URL.
func literal(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	return "[" + url.PathEscape(a.String()) + "]"
}

// Every special-purpose block, at both ends and in between, by every way there is to lead us there.
func TestSSRFMatrix(t *testing.T) {
	g := newGate(t)
	// An own host redirects to whatever it is asked for; it is the only one that is connected to.
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusTemporaryRedirect)
	}))
	defer s.Close()
	redirecting := safehttp.New(safehttp.Config{Hosts: map[string]string{"open.test": s.Listener.Addr().String()}})
	defer redirecting.CloseIdle()
	redirecting.Watch(g.names.net(), func(address string) error { t.Error("a redirect was followed to", address); return errSeen })

	addresses, rows := map[netip.Addr]bool{}, 0
	for name, block := range special {
		for _, a := range ends(block) {
			addresses[a] = true
			direct := func(way, u string) {
				rows++
				require.ErrorIs(t, g.ask(t, u), safehttp.ErrRefused, "%s %s, %s", name, a, way)
				require.Empty(t, g.passed(), "%s %s, %s", name, a, way)
			}
			direct("literal", "https://"+literal(a)+"/")
			for _, scheme := range []string{"http://", "https://"} {
				rows++
				before := asked.Load()
				res, err := get(t, redirecting, "http://open.test/?to="+url.QueryEscape(scheme+literal(a)+"/"), 1000)
				require.NoError(t, err)
				require.Equal(t, []any{307, before + 1}, []any{res.Status, asked.Load()}, name)
			}
			if !a.Is4In6() { // in DNS that is the IPv4 address, below
				g.names.say("inner.test", []netip.Addr{a})
				direct("name", "https://inner.test/")
				g.names.say("rebinds.test", []netip.Addr{public}, []netip.Addr{a})
				require.ErrorIs(t, g.ask(t, "https://rebinds.test/"), errSeen)
				require.Equal(t, []string{public.String() + ":443"}, g.passed(), "the first time it is a public one")
				g.names.then("rebinds.test")
				direct("rebinding", "https://rebinds.test/")
				g.names.say("both.test", []netip.Addr{a, public})
				require.Error(t, g.ask(t, "https://both.test/"))
				for _, seen := range g.passed() {
					require.Equal(t, public.String()+":443", seen, "%s %s, beside a public one", name, a)
				}
				rows++
			}
			if a.Is4() {
				mapped := netip.AddrFrom16(a.As16())
				direct("mapped", "https://["+mapped.String()+"]/")
				g.names.say("mapped.test", []netip.Addr{mapped})
				direct("mapped in DNS", "https://mapped.test/")
				four := a.As4()
				six := append([]byte{0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0}, four[:]...)
				g.names.say("nat64.test", []netip.Addr{addr(six)})
				direct("NAT64", "https://nat64.test/")
				direct("6to4", "https://["+addr(append(append([]byte{0x20, 0x02}, four[:]...), make([]byte, 10)...)).String()+"]/")
				direct("compatible", "https://[::"+a.String()+"]/")
			} else if a.Zone() == "" {
				direct("with a zone", "https://["+a.String()+"%25eth0]/")
			}
		}
	}
	require.GreaterOrEqual(t, len(addresses), 120)
	t.Logf("%d addresses, %d rows, no connection", len(addresses), rows)
}

// The neighbours of the blocks are let through: the list refuses no more than it has to.
func TestSSRFMatrixControl(t *testing.T) {
	g := newGate(t)
	for _, text := range outer {
		a := netip.MustParseAddr(text)
		want := []string{netip.AddrPortFrom(a, 443).String()}
		for _, port := range []string{"", ":443"} {
			require.ErrorIs(t, g.ask(t, "https://"+literal(a)+port+"/"), errSeen, text)
			require.Equal(t, want, g.passed())
		}
		g.names.say("outer.test", []netip.Addr{a})
		for _, host := range []string{"outer.test", "OUTER.test", "outer.test.", "outer.test:443"} {
			require.ErrorIs(t, g.ask(t, "https://"+host+"/"), errSeen, text)
			require.Equal(t, want, g.passed(), host)
		}
		if a.Is4() { // which it is, however DNS writes it
			g.names.say("mapped.test", []netip.Addr{netip.AddrFrom16(a.As16())})
			require.ErrorIs(t, g.ask(t, "https://mapped.test/"), errSeen, text)
			require.Equal(t, want, g.passed())
		}
	}
	for _, name := range []string{"1.example", "0x7f.example", "127.0.0.1.example", "a1", "0xzz", "x-0x1"} {
		g.names.say(name, []netip.Addr{public})
		require.ErrorIs(t, g.ask(t, "https://"+name+"/"), errSeen, name)
		require.Len(t, g.passed(), 1)
	}
}

// Other spellings of an address are refused even where the resolver would know what to do with them.
func TestSSRFSpellings(t *testing.T) {
	g := newGate(t)
	inner := []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	for _, host := range []string{
		"2130706433", "0x7f000001", "0x7F000001", "017700000001", "0177.0.0.1", "0x7f.0.0.1", "0x7f.1", "127.1", "127.0.1", "0", "0x0", "00000000000",
		"127.0.0.1.", "127.1.", "0x7f.1.", "127.0.0.01", "127.0.0.0x1", "0300.0250.0.1", "3232235521", "0xa9fea9fe", "2852039166", "169.254.43518",
		"1.1.1.1.1", "256.256.256.256", "4294967297", "0x", "127。0。0。1", "１２７.0.0.1", "①②⑦.⓪.⓪.①", "localhost", "LOCALHOST", "localhost.",
		"printer", "db.internal", "a.local",
	} {
		name := strings.ToLower(strings.TrimSuffix(host, "."))
		g.names.say(name, inner)
		for _, suffix := range []string{"", ":443"} {
			require.ErrorIs(t, g.ask(t, "https://"+host+suffix+"/"), safehttp.ErrRefused, host)
			require.Empty(t, g.passed(), host)
		}
	}
	g.names.say("a.example", []netip.Addr{public})
	for _, u := range []string{
		"http://a.example/", "https://a.example:80/", "https://a.example:8443/", "https://a.example:0443/", "https://u@a.example/", "https://u:p@a.example/",
		"https://a.example:443@127.0.0.1/", "ftp://a.example/", "gopher://a.example/", "ws://a.example/", "file:///etc/passwd", "https:///x", "https://:443/",
		"https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[0:0:0:0:0:ffff:7f00:0001]/", "https://[::127.0.0.1]/",
		"https://[fe80::1%25lo]/", "https://[2606:4700::1%25lo]/", "//a.example/", "https:a.example/",
	} {
		require.ErrorIs(t, g.ask(t, u), safehttp.ErrRefused, u)
		require.Empty(t, g.passed(), u)
	}
	for i := range 3 { // and the same host is asked by its right URL
		require.ErrorIs(t, g.ask(t, fmt.Sprint("https://a.example/", i)), errSeen)
		require.Len(t, g.passed(), 1)
	}
}
