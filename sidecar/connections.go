package sidecar

import (
	"cmp"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"github.com/waxwing-dm/waxwing/internal/safehttp"
)

// What may be connected at once. A connection costs some 20 KiB when it is held open and nothing comes, which is what somebody would do
// who wants to use us up. The sandbox and the tests connect from loopback.
const (
	MaxConnections           = 4096
	MaxConnectionsPerAddress = 256
)

// connections counts who is connected. Addresses that are not public are not counted each: what comes from there comes through the proxy
// in front, or from the operator, and a proxy has limits of its own.
type connections struct {
	all, each int // at the most

	mu   sync.Mutex
	from map[netip.Prefix]int
	open map[net.Conn]netip.Prefix // those that were let in
}

func newConnections(all, each int) *connections {
	return &connections{
		all: cmp.Or(all, MaxConnections), each: cmp.Or(each, MaxConnectionsPerAddress), from: map[netip.Prefix]int{}, open: map[net.Conn]netip.Prefix{},
	}
}

// watch is for http.Server.ConnState. One too many is closed before anything was read of it.
func (c *connections) watch(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if !c.enter(conn, conn.RemoteAddr().String()) {
			_ = conn.Close()
		}
	case http.StateClosed, http.StateHijacked:
		c.leave(conn)
	}
}

func (c *connections) enter(conn net.Conn, addr string) bool {
	from := neighbourhood(addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= c.all || from.IsValid() && c.from[from] >= c.each {
		return false
	}
	c.open[conn] = from
	if from.IsValid() {
		c.from[from]++
	}
	return true
}

func (c *connections) leave(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	from, ok := c.open[conn]
	delete(c.open, conn)
	if !ok || !from.IsValid() {
		return
	}
	if c.from[from]--; c.from[from] == 0 {
		delete(c.from, from)
	}
}

// neighbourhood is what one caller has for themselves: an IPv4 address, or the 64 bits that stand for a network of IPv6. It is not valid for
// what is not counted.
func neighbourhood(addrPort string) netip.Prefix {
	at, err := netip.ParseAddrPort(addrPort)
	if err != nil {
		return netip.Prefix{}
	}
	return around(at.Addr())
}

func around(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	if !safehttp.Public(a) {
		return netip.Prefix{}
	}
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
