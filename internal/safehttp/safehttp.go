// Package safehttp is the door out: an HTTP client that can be told by strangers where to go. It speaks https on port 443 to
// public addresses, looks at the address at the moment of connecting (so a name that resolves differently the second time
// gains nothing), heeds no proxy from the environment, asks for no compression, and bounds time and size.
//
// It follows no redirects, on any host: a redirect is an answer like every other. Whoever moves publishes a document that says so, and
// nothing is gained by going where a stranger's Location points.
//
// The sandbox and tests name hosts of their own in [Config.Hosts]; only for those are plain http and other addresses allowed.
package safehttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// ErrRefused is the error for a request that must not go out.
var ErrRefused = errors.New("refused to connect")

// ErrTooLarge is the error for an answer beyond its limit.
var ErrTooLarge = errors.New("the answer is too large")

const (
	connectTimeout = 10 * time.Second
	totalTimeout   = 40 * time.Second // above the 30 s for which a mailbox holds its answer

	// A line that was cut must not keep us longer than it was: a connection over which nothing comes back is left, and a new one made.
	silentTimeout = 15 * time.Second // for what was sent to be acknowledged
	probeAfter    = 10 * time.Second // of hearing nothing, whether or not anything was asked
	probeTimeout  = 5 * time.Second
)

// Config of a client.
type Config struct {
	// Hosts maps a host (with its port, if the URL has one) to the address to connect to instead, for sandbox and tests.
	Hosts     map[string]string
	UserAgent string
	// Wrap, if set, is put around the transport; tests watch with it.
	Wrap func(http.RoundTripper) http.RoundTripper
}

// Client is safe for concurrent use.
type Client struct {
	config    Config
	dialer    *net.Dialer // to everybody but the hosts of the configuration
	transport *http.Transport
	asked     http.RoundTripper // the transport, or what was put around it
}

// New makes a client.
func New(c Config) *Client {
	dialer, direct := newDialer(control), newDialer(silent)
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if to, ok := c.host(addr); ok {
				return direct.DialContext(ctx, network, to)
			}
			return dialer.DialContext(ctx, network, addr)
		},
		DisableCompression:     true,
		TLSHandshakeTimeout:    connectTimeout,
		ResponseHeaderTimeout:  totalTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        time.Minute,
		ForceAttemptHTTP2:      true,
		// All requests to a host share one connection there, so that a dead one would be all there is to it for as long as anything is asked.
		HTTP2: &http.HTTP2Config{SendPingTimeout: probeAfter, PingTimeout: probeTimeout, WriteByteTimeout: silentTimeout},
	}
	var rt http.RoundTripper = transport
	if c.Wrap != nil {
		rt = c.Wrap(rt)
	}
	return &Client{c, dialer, transport, rt}
}

func newDialer(control func(context.Context, string, string, syscall.RawConn) error) *net.Dialer {
	return &net.Dialer{
		Timeout: connectTimeout, ControlContext: control,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: probeAfter, Interval: probeTimeout, Count: 2},
	}
}

func silent(_ context.Context, _, _ string, raw syscall.RawConn) error {
	return giveUpSilent(raw, silentTimeout)
}

// control sees the address that is about to be connected to, after all name resolution.
func control(ctx context.Context, network, address string, raw syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || to.Port() != 443 || !Public(to.Addr()) {
		return fmt.Errorf("safehttp: %s is not a public address: %w", address, ErrRefused)
	}
	return silent(ctx, network, address, raw)
}

// host finds the sandbox address for what the transport wants to dial, a host that always has a port.
func (c *Config) host(addr string) (string, bool) {
	if to, ok := c.Hosts[addr]; ok {
		return to, true
	}
	name, port, err := net.SplitHostPort(addr)
	if err != nil || port != "80" && port != "443" {
		return "", false
	}
	to, ok := c.Hosts[name]
	return to, ok
}

// Allowed says whether a URL may be asked for at all; the address is checked when connecting.
func (c *Client) Allowed(u *url.URL) error {
	if _, ok := c.config.Hosts[u.Host]; ok && (u.Scheme == "http" || u.Scheme == "https") && u.User == nil {
		return nil
	}
	if u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Port() != "" && u.Port() != "443" {
		return fmt.Errorf("safehttp: %.100q is not an https URL on port 443: %w", u.Scheme+"://"+u.Host, ErrRefused)
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && !Public(a) {
		return fmt.Errorf("safehttp: %s is not a public address: %w", a, ErrRefused)
	} else if err != nil && endsInNumber(u.Hostname()) {
		return fmt.Errorf("safehttp: %.100q is an address in disguise: %w", u.Hostname(), ErrRefused)
	}
	return nil
}

// endsInNumber finds what some resolvers take for an IPv4 address: decimal, octal and hexadecimal numbers, and fewer than four of them
// (WHATWG URL, "ends in a number"). There is no top-level domain like that.
func endsInNumber(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	digits, hex := strings.CutPrefix(last, "0x")
	return last != "" && strings.IndexFunc(digits, func(c rune) bool {
		return (c < '0' || c > '9') && (!hex || c < 'a' || c > 'f')
	}) < 0
}

// Response is an answer read to its end.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do sends the request and reads at most limit bytes of the answer. Any status is an answer, a redirect too.
func (c *Client) Do(req *http.Request, limit int64) (*Response, error) {
	var body bytes.Buffer
	res, err := c.Stream(req, &body, limit)
	if err != nil {
		return nil, err
	}
	res.Body = body.Bytes()
	return res, nil
}

// Stream is Do for answers that are written on as they come.
func (c *Client) Stream(req *http.Request, into io.Writer, limit int64) (*Response, error) {
	if err := c.Allowed(req.URL); err != nil {
		return nil, err
	}
	if c.config.UserAgent != "" && req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", c.config.UserAgent)
	}
	ctx, cancel := context.WithTimeout(req.Context(), totalTimeout)
	defer cancel()
	// The transport is asked without an http.Client, which would have its own mind about redirects and puts the URL, that may
	// name people, into its errors.
	res, err := c.asked.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("safehttp: asking %s: %w", req.URL.Host, err)
	}
	defer res.Body.Close()
	if res.ContentLength > limit {
		return nil, fmt.Errorf("safehttp: answer of %s: %d bytes: %w", req.URL.Host, res.ContentLength, ErrTooLarge)
	}
	n, err := io.Copy(into, io.LimitReader(res.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("safehttp: reading the answer of %s: %w", req.URL.Host, err)
	}
	if n > limit {
		return nil, fmt.Errorf("safehttp: answer of %s: more than %d bytes: %w", req.URL.Host, limit, ErrTooLarge)
	}
	return &Response{Status: res.StatusCode, Header: res.Header}, nil
}

// CloseIdle closes connections that wait for reuse.
func (c *Client) CloseIdle() { c.transport.CloseIdleConnections() }
