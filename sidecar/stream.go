package sidecar

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

const (
	maxStreams = 4                // of one device
	heartbeat  = 20 * time.Second // a line that says nothing, so that what lies between does not take the stream for dead
)

// streams counts what each device holds open.
type streams struct {
	mu   sync.Mutex
	open map[string]int
}

func (s *streams) enter(d store.Device) (leave func(), err error) {
	key := d.Actor + " " + d.ID
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[key] >= maxStreams {
		p := problem.New(http.StatusTooManyRequests, "rate_limited", "a device holds at most %d event streams open", maxStreams)
		p.RetryAfter = int(heartbeat / time.Second)
		return nil, p
	}
	if s.open == nil {
		s.open = map[string]int{}
	}
	s.open[key]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.open[key]--; s.open[key] == 0 {
			delete(s.open, key)
		}
	}, nil
}

// messageEvents tells of each message that comes from now on, or from the event on that the client had last, as an Add to the messages
// collection, until the client goes, is logged out, or the sidecar stops.
func (s *Sidecar) messageEvents(w http.ResponseWriter, r *http.Request, d store.Device) error {
	span, err := s.store.Mailboxes.Span(r.Context(), d.Actor, d.ID)
	if err != nil {
		return err
	}
	cursor := span.Newest
	if last, err := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 63); err == nil {
		cursor = last
	}
	leave, err := s.streams.enter(d)
	if err != nil {
		return err
	}
	defer leave()
	w.Header().Set("X-Accel-Buffering", "no")
	rc := http.NewResponseController(w)
	if err := rc.SetReadDeadline(time.Time{}); err != nil { // that of the server would end the stream
		return err
	}
	write(w, http.StatusOK, "text/event-stream", "no-store", []byte(": hello\n\n"))
	for rc.Flush() == nil {
		items, err := s.await(r.Context(), d, cursor, clientapi.MaxItems, heartbeat)
		if err != nil || s.isStopping() || rc.SetWriteDeadline(time.Now().Add(writeTime)) != nil {
			return nil // the headers are out: there is no answer left to give
		}
		if len(items) == 0 {
			_, _ = w.Write([]byte(":\n\n")) // what fails here, and below, the next Flush tells
		}
		for _, i := range items {
			event, err := federation.Added(d.Actor+"/messages", activityOf(d, i))
			if err != nil {
				return nil
			}
			cursor = i.Cursor
			_, _ = fmt.Fprintf(w, "id: %d\ndata: %s\n\n", cursor, event)
		}
	}
	return nil
}
