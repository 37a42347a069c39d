package main

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/agent/localapi"
)

// TestFailuresSayWhy: what the agent's events say of a failure reaches the person who waits for the command, in plain letters.
func TestFailuresSayWhy(t *testing.T) {
	c := &cli{home: t.TempDir()}
	l, err := localapi.ListenUnix(localapi.SocketPath(c.home))
	require.NoError(t, err)
	mux := http.NewServeMux()
	answer := func(path, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, body) })
	}
	answer("/v1/conversations/x", `{"id":"x","members":[{"handle":"@me@a.test","me":true},{"handle":"@bob@b.test"}]}`)
	answer("/v1/conversations/x/messages", `{"messages":[{"seq":7,"conversation":"x","state":"failed"}],"next":7}`)
	mux.HandleFunc("/v1/events", func(w http.ResponseWriter, r *http.Request) {
		for _, e := range []string{
			`{"cursor":1,"type":"message.state","conversation":"x","message":{"seq":6,"state":"failed"},"code":"other","detail":"other"}`,
			`{"cursor":2,"type":"member.failed","conversation":"x","handle":"@carol@c.test","code":"rate_limited","detail":"too\u001b[2J often"}`,
			`{"cursor":3,"type":"message.state","conversation":"x","message":{"seq":7,"state":"failed"},"code":"too_late","detail":"it took too long"}`,
		} {
			_, _ = fmt.Fprintf(w, "data: %s\n\n", e)
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done() // a stream does not end
	})
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(l) }()
	defer server.Close()

	cmd := c.send()
	cmd.SetContext(context.Background())
	_, err = c.awaitSent(cmd, client.Message{Conversation: "x", Seq: 7, State: "queued"})
	require.EqualError(t, err, "the message could not be sent: it took too long (too_late)")
	sent := client.Message{Conversation: "x", Seq: 7, State: "sent"}
	require.EqualError(t, c.checkReached(t.Context(), sent, "@bob@b.test,carol@C.test"), `sent, but not to @carol@c.test: too\u{1b}[2J often (rate_limited)`)
	require.NoError(t, c.checkReached(t.Context(), sent, "@bob@b.test"))
	require.NoError(t, c.checkReached(t.Context(), sent, "4b1f"))
}
