package localapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent/client"
)

var errEnough = errors.New("enough")

// TestStreamResumes cuts bob's stream again and again while alice writes, and goes on with the last cursor each time.
func TestStreamResumes(t *testing.T) {
	alice, bob := world.Person("alice"), world.Person("bob")
	c, err := alice.Start(ctx, bob.Handle)
	require.NoError(t, err)
	const n = 40
	go func() {
		for i := range n {
			_, err := alice.Send(ctx, unique(fmt.Sprint("stream-", i)), client.Outgoing{Conversation: c.ID, Text: fmt.Sprint(i)})
			if err != nil {
				t.Error(err)
			}
		}
	}()
	var cursor uint64
	var got, want []string
	var cursors []uint64
	deadline := time.Now().Add(60 * time.Second)
	for len(got) < n && time.Now().Before(deadline) {
		short, cancel := context.WithTimeout(ctx, time.Duration(5+len(got)%7*10)*time.Millisecond)
		err := bob.Follow(short, cursor, func(e client.Event) error {
			cursor = e.Cursor
			cursors = append(cursors, e.Cursor)
			if e.Type == "message.received" && e.Conversation == c.ID {
				got = append(got, e.Message.Text)
				if len(got)%3 == 0 {
					return errEnough // the reader goes, in the middle of what comes
				}
			}
			return nil
		})
		cancel()
		require.Error(t, err)
	}
	for i := range n {
		want = append(want, fmt.Sprint(i))
	}
	require.Equal(t, want, got, "nothing lost, nothing twice, in order")
	for i := 1; i < len(cursors); i++ {
		require.Equal(t, cursors[i-1]+1, cursors[i])
	}
}

func TestStreamHeedsLastEventID(t *testing.T) {
	alice := world.Person("alice")
	_, err := alice.Send(ctx, unique("last-id"), client.Outgoing{To: []string{"@bob@b.test"}, Text: "x"})
	require.NoError(t, err)
	first := func(path string, header http.Header) string {
		res := call(t, alice, http.MethodGet, path, nil, header)
		defer res.Body.Close()
		require.Equal(t, "text/event-stream", res.Header.Get("Content-Type"))
		require.Equal(t, "no", res.Header.Get("X-Accel-Buffering"))
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				return id
			}
		}
		return ""
	}
	require.Equal(t, "1", first("/events", nil))
	require.Equal(t, "2", first("/events?after=1", nil))
	require.Equal(t, "3", first("/events?after=1", http.Header{"Last-Event-Id": {"2"}}), "a browser that reconnects repeats the URL")
	require.Equal(t, "3", first("/events?after=2", http.Header{"Last-Event-Id": {"1"}}))
	require.Equal(t, "2", first("/events?after=1", http.Header{"Last-Event-Id": {"garbage"}}))
}
