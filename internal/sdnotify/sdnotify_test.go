package sdnotify_test

import (
	"context"
	"net"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/sdnotify"
)

func environment(m map[string]string) func(string) string {
	return func(name string) string { return m[name] }
}

func TestTell(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "s"), "@waxwing-test-" + strconv.FormatInt(time.Now().UnixNano(), 36)} {
		l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
		require.NoError(t, err)
		m := sdnotify.FromEnvironment(environment(map[string]string{"NOTIFY_SOCKET": name}))
		require.NoError(t, m.Tell(sdnotify.Ready))
		require.Equal(t, "READY=1", read(t, l))
		require.NoError(t, l.Close())
		require.Error(t, m.Tell(sdnotify.Stopping), "nobody listens any more")
	}
	require.NoError(t, sdnotify.FromEnvironment(environment(nil)).Tell(sdnotify.Ready), "nobody asked")
}

func read(t *testing.T, l *net.UnixConn) string {
	b := make([]byte, 100)
	require.NoError(t, l.SetReadDeadline(time.Now().Add(10*time.Second)))
	n, err := l.Read(b)
	require.NoError(t, err)
	return string(b[:n])
}

func TestWatch(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	require.NoError(t, err)
	defer l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var asked atomic.Int32
	done := make(chan struct{})
	go func() {
		defer close(done)
		sdnotify.FromEnvironment(environment(map[string]string{"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3000"})).
			Watch(ctx, func(context.Context) bool { return asked.Add(1)%2 == 0 })
	}()
	require.Equal(t, "WATCHDOG=1", read(t, l))
	require.Equal(t, "WATCHDOG=1", read(t, l))
	require.GreaterOrEqual(t, asked.Load(), int32(4), "who does not live gives no sign")
	cancel()
	<-done
	for _, env := range []map[string]string{nil, {"NOTIFY_SOCKET": name}, {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}, {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "-1"}} {
		sdnotify.FromEnvironment(environment(env)).Watch(context.Background(), func(context.Context) bool { panic("not asked for") })
	}
}
