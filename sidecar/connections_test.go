package sidecar_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/sidecar"
)

// A caller is a connection from somewhere.
type caller struct {
	net.Conn
	from   string
	closed bool
}

func (c *caller) RemoteAddr() net.Addr {
	a, err := net.ResolveTCPAddr("tcp", c.from)
	if err != nil {
		panic(err)
	}
	return a
}

func (c *caller) Close() error {
	c.closed = true
	return nil
}

func TestOneAddressHoldsSoManyConnections(t *testing.T) {
	watch := sidecar.Watch(8, 2)
	dial := func(from string) *caller {
		c := &caller{from: from}
		watch(c, http.StateNew)
		if c.closed {
			watch(c, http.StateClosed) // as the server does
		}
		return c
	}
	hangUp := func(c *caller) { watch(c, http.StateActive); watch(c, http.StateClosed) }
	first, second := dial("1.1.1.1:1"), dial("1.1.1.1:2")
	require.False(t, first.closed || second.closed)
	require.True(t, dial("1.1.1.1:3").closed)
	require.True(t, dial("[::ffff:1.1.1.1]:4").closed, "the same in other words")
	require.False(t, dial("1.1.1.2:1").closed, "somebody else")
	hangUp(first)
	require.False(t, dial("1.1.1.1:5").closed)
	require.True(t, dial("1.1.1.1:6").closed)

	require.False(t, dial("[2606:4700:0:1::1]:1").closed)
	require.False(t, dial("[2606:4700:0:1::2]:1").closed)
	require.True(t, dial("[2606:4700:0:1:ffff::3]:1").closed, "who has one address of IPv6 has a network of them")

	for i := range 3 { // a proxy's, or the operator's
		require.False(t, dial(fmt.Sprint([]string{"127.0.0.1:", "10.1.2.3:", "[::1]:"}[i], i)).closed)
	}
	require.True(t, dial("127.0.0.1:9").closed, "eight are there now")
	require.True(t, dial("9.9.9.9:1").closed)
	hangUp(second)
	require.False(t, dial("9.9.9.9:2").closed)
}

// TestOneConnectionTooMany: it is closed, and those that are there work on.
func TestOneConnectionTooMany(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test")
	a.connections = 2
	a.start()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", w.hosts["a.test"])
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
		return c
	}
	ask := func(c net.Conn) error {
		if _, err := fmt.Fprint(c, "GET /.well-known/waxwing HTTP/1.1\r\nHost: a.test\r\n\r\n"); err != nil {
			return err
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err
		}
		return res.Body.Close()
	}
	one, two := dial(), dial()
	require.NoError(t, ask(one))
	require.NoError(t, ask(two))
	require.Error(t, ask(dial()))
	require.NoError(t, ask(one))
	require.NoError(t, two.Close())
	require.Eventually(t, func() bool { return ask(dial()) == nil }, 20*time.Second, 10*time.Millisecond)
}

// TestFloodLeavesTheLogAlone: of refusals of one kind some are logged, and then how many more there were.
func TestFloodLeavesTheLogAlone(t *testing.T) {
	w := newWorld(t)
	a, p := w.box("a.test"), w.peer("c.test")
	a.start()
	d := p.delivery("http://a.test/users/nobody")
	d.signer = ""
	refuse := func() {
		status, code := p.send(d)
		require.Equal(t, []any{401, "signature_missing"}, []any{status, code})
	}
	lines := func(of ...string) (n int) {
		for line := range strings.Lines(w.logs()) {
			missing := false
			for _, text := range of {
				missing = missing || !strings.Contains(line, text)
			}
			if !missing {
				n++
			}
		}
		return n
	}
	for range 50 {
		refuse()
	}
	require.Equal(t, 10, lines("msg=request", "code=signature_missing"))
	a.get("/users/nobody")
	require.Equal(t, 1, lines("msg=request", "status=404"), "another kind")
	w.advance(time.Minute)
	refuse()
	require.Equal(t, 11, lines("msg=request", "code=signature_missing"))
	require.Equal(t, 1, lines(`msg="more requests of one kind"`, "times=40", "code=signature_missing"))
	for range 20 {
		refuse()
	}
	a.stop()
	require.Equal(t, 1, lines(`msg="more requests of one kind"`, "times=11"), "what was counted is told at the end")
}
