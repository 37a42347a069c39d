package safehttp_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/safehttp"
)

var inner = map[string]string{
	"unspecified": "0.0.0.0", "this network": "0.1.2.3", "loopback": "127.0.0.1", "loopback further on": "127.255.255.254",
	"private 10": "10.0.0.1", "private 10 end": "10.255.255.255", "private 172": "172.16.0.1", "private 172 end": "172.31.255.255",
	"private 192": "192.168.0.1", "CGNAT": "100.64.0.1", "CGNAT end": "100.127.255.255", "link-local": "169.254.0.1",
	"metadata": "169.254.169.254", "protocol assignments": "192.0.0.1", "NAT64 discovery": "192.0.0.170", "DS-Lite": "192.0.0.2",
	"documentation 1": "192.0.2.1", "documentation 2": "198.51.100.1", "documentation 3": "203.0.113.255", "AS112": "192.31.196.1",
	"AMT": "192.52.193.1", "6to4 relay": "192.88.99.1", "AS112 direct": "192.175.48.1", "benchmarks": "198.18.0.1",
	"benchmarks end": "198.19.255.255", "multicast": "224.0.0.1", "multicast SSM": "232.1.1.1", "multicast end": "239.255.255.255",
	"reserved": "240.0.0.1", "almost broadcast": "255.255.255.254", "broadcast": "255.255.255.255",
	"v6 unspecified": "::", "v6 loopback": "::1", "v4-compatible": "::127.0.0.1", "v4-compatible public": "::8.8.8.8",
	"v4-mapped loopback": "::ffff:127.0.0.1", "v4-mapped private": "::ffff:10.0.0.1", "v4-mapped public": "::ffff:8.8.8.8",
	"v4-mapped in hex": "::ffff:7f00:1", "v4-translated": "::ffff:0:7f00:1", "NAT64": "64:ff9b::7f00:1", "NAT64 public": "64:ff9b::808:808",
	"NAT64 local": "64:ff9b:1::1", "discard": "100::1", "dummy prefix": "100:0:0:1::1", "Teredo": "2001::1", "Teredo server": "2001:0:7f00:1::1",
	"v6 benchmarks": "2001:2::1", "AMT v6": "2001:3::1", "ORCHID": "2001:10::1", "ORCHIDv2": "2001:20::1", "drone ids": "2001:30::1",
	"v6 documentation": "2001:db8::1", "v6 documentation 2": "3fff::1", "6to4": "2002:7f00:1::1", "6to4 public": "2002:808:808::1",
	"AS112 v6": "2620:4f:8000::1", "SRv6": "5f00::1", "unassigned": "4000::1", "unassigned e": "e000::1", "ULA": "fc00::1", "ULA d": "fd12:3456::1",
	"v6 link-local": "fe80::1", "v6 link-local zone": "fe80::1%eth0", "public with zone": "2606:4700::1%lo", "site-local": "fec0::1",
	"v6 multicast": "ff02::1", "v6 multicast global": "ff0e::1", "ISATAP": "fe80::5efe:7f00:1",
}

var outer = []string{
	"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1", "169.253.255.255",
	"169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0",
	"223.255.255.255", "2001:200::1", "2001:4860:4860::8888", "2003::1", "2606:4700:4700::1111", "2a00::1", "2c0f::1",
}

func TestPublic(t *testing.T) {
	for name, text := range inner {
		require.False(t, safehttp.Public(netip.MustParseAddr(text)), "%s %s", name, text)
	}
	for _, text := range outer {
		require.True(t, safehttp.Public(netip.MustParseAddr(text)), text)
	}
	require.False(t, safehttp.Public(netip.Addr{}))
}

// A trap is a server that nobody may reach, and a client that watches what goes out.
type trap struct {
	*safehttp.Client
	port     string
	reached  atomic.Int32
	sentAway atomic.Int32
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func newTrap(t *testing.T) *trap {
	tr := &trap{}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ConnState = func(net.Conn, http.ConnState) { tr.reached.Add(1) }
	s.Start()
	t.Cleanup(s.Close)
	_, tr.port, _ = net.SplitHostPort(s.Listener.Addr().String())
	tr.Client = safehttp.New(safehttp.Config{Wrap: func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			tr.sentAway.Add(1)
			return next.RoundTrip(r)
		})
	}})
	t.Cleanup(tr.CloseIdle)
	return tr
}

func (tr *trap) ask(t *testing.T, url string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(t, err, url)
	_, err = tr.Do(req, 100)
	require.Error(t, err, url)
	require.NotContains(t, err.Error(), "secret")
	return err
}

func TestInnerAddressesAreNotAskedFor(t *testing.T) {
	tr := newTrap(t)
	for name, text := range inner {
		host := text
		if strings.Contains(text, ":") {
			host = "[" + strings.Replace(text, "%", "%25", 1) + "]"
		}
		for _, url := range []string{"https://" + host + "/secret", "https://" + host + ":443/?secret", "https://" + host + ":" + tr.port + "/secret"} {
			require.ErrorIs(t, tr.ask(t, url), safehttp.ErrRefused, "%s %s", name, url)
		}
	}
	require.Zero(t, tr.sentAway.Load(), "refused before anything is resolved or dialed")
	require.Zero(t, tr.reached.Load())
}

func TestOtherURLsAreNotAskedFor(t *testing.T) {
	tr := newTrap(t)
	for name, url := range map[string]string{
		"http":              "http://a.example/secret",
		"http on 443":       "http://a.example:443/secret",
		"other port":        "https://a.example:8443/secret",
		"port 80":           "https://a.example:80/secret",
		"port 0":            "https://a.example:0/secret",
		"port in disguise":  "https://a.example:0443/secret",
		"user":              "https://secret@a.example/",
		"user and password": "https://u:secret@a.example/",
		"user like a host":  "https://a.example:443@127.0.0.1/secret",
		"ftp":               "ftp://a.example/secret",
		"file":              "file:///etc/secret",
		"gopher":            "gopher://a.example/secret",
		"data":              "data:text/plain,secret",
		"no scheme":         "//a.example/secret",
		"no host":           "https:///secret",
		"only a port":       "https://:443/secret",
		"local port":        "http://127.0.0.1:" + tr.port + "/secret",
		"localhost port":    "https://localhost:" + tr.port + "/secret",
	} {
		require.ErrorIs(t, tr.ask(t, url), safehttp.ErrRefused, name)
	}
	require.Zero(t, tr.sentAway.Load())
	require.Zero(t, tr.reached.Load())
}

// Names are judged by what they resolve to, at the moment of connecting.
func TestNamesOfInnerAddresses(t *testing.T) {
	tr := newTrap(t)
	for _, name := range []string{"localhost", "LOCALHOST", "localhost:443"} {
		require.ErrorIs(t, tr.ask(t, "https://"+name+"/secret"), safehttp.ErrRefused, name)
	}
	// Some resolvers take these spellings for 127.0.0.1, others for names that do not exist.
	for _, name := range []string{"2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "127.1", "127.0.0.1.", "0", "①②⑦.0.0.1"} {
		tr.ask(t, "https://"+name+"/secret")
		require.ErrorIs(t, tr.ask(t, "https://"+name+":"+tr.port+"/secret"), safehttp.ErrRefused, name)
	}
	require.Zero(t, tr.reached.Load())
}

func TestProxiesOfTheEnvironmentAreNotHeeded(t *testing.T) {
	tr := newTrap(t)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy"} {
		t.Setenv(name, "http://127.0.0.1:"+tr.port)
	}
	require.ErrorIs(t, tr.ask(t, "https://localhost/secret"), safehttp.ErrRefused)
	require.Zero(t, tr.reached.Load())
}
