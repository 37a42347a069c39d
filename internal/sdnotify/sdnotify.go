// Package sdnotify tells systemd how a service is doing, by datagrams to the socket that it names in the environment (sd_notify(3)). Where
// nobody asked to be told, nothing happens.
package sdnotify

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// What there is to tell.
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
	alive    = "WATCHDOG=1"
)

// Manager is who wants to be told.
type Manager struct {
	socket   string
	watchdog time.Duration // 0: it does not wait for a sign of life
}

// FromEnvironment finds the manager of this process.
func FromEnvironment(getenv func(string) string) Manager {
	m := Manager{socket: getenv("NOTIFY_SOCKET")}
	micros, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if pid := getenv("WATCHDOG_PID"); err == nil && micros > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		m.watchdog = time.Duration(micros) * time.Microsecond
	}
	return m
}

// Tell sends one state.
func (m Manager) Tell(state string) error {
	if m.socket == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: m.socket, Net: "unixgram"}) // which knows "@" as the sign of an abstract one
	if err != nil {
		return fmt.Errorf("sdnotify: telling systemd %s: %w", state, err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(state)); err != nil {
		return fmt.Errorf("sdnotify: telling systemd %s: %w", state, err)
	}
	return nil
}

// Watch gives a sign of life three times as often as the manager wants one, while lives says so, until the context ends.
func (m Manager) Watch(ctx context.Context, lives func(context.Context) bool) {
	if m.socket == "" || m.watchdog == 0 {
		return
	}
	tick := time.NewTicker(max(m.watchdog/3, time.Millisecond))
	defer tick.Stop()
	for {
		if lives(ctx) {
			_ = m.Tell(alive) // who is not listening will notice
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
