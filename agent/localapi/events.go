package localapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/device"
)

const (
	batch     = 100 // events read at once
	heartbeat = 15 * time.Second
	writeTime = 30 * time.Second // for a reader to take what is written
)

func (s *service) events(api huma.API) {
	op := operation("follow-events", http.MethodGet, "/events", "Follow what happens, from any point on")
	op.Description = "Server-sent events. Each has its cursor as id, its type as event and a JSON object as data. Everything after " +
		"the cursor `after` (or the header Last-Event-ID) is repeated first, so a reader that comes back loses nothing."
	schema := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[client.Event](), true, "Event")
	op.Responses = map[string]*huma.Response{"200": {
		Description: "The stream", Content: map[string]*huma.MediaType{"text/event-stream": {Schema: schema}},
	}}
	huma.Register(api, op, s.follow)
}

func (s *service) follow(_ context.Context, in *struct {
	After uint64 `query:"after" doc:"Cursor to begin after; 0 is the beginning"`
	Last  string `header:"Last-Event-ID" doc:"What a reader that reconnects by itself sends; counts if it is later than after"`
}) (*huma.StreamResponse, error) {
	after := in.After
	if last, err := strconv.ParseUint(in.Last, 10, 64); err == nil {
		after = max(after, last)
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		r, w := humago.Unwrap(ctx)
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Accel-Buffering", "no")
		w.WriteHeader(http.StatusOK)
		s.stream(r.Context(), w, after)
	}}, nil
}

// stream writes events until the reader or the server goes.
func (s *service) stream(ctx context.Context, w http.ResponseWriter, after uint64) {
	control := http.NewResponseController(w)
	write := func(text string) bool {
		if err := control.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
			return false
		}
		if _, err := w.Write([]byte(text)); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	if !write(": from here on\n\n") {
		return
	}
	for {
		changed := s.agent.Changed()
		events, err := s.agent.Events(after, batch)
		if err != nil {
			return // the reader comes back with its cursor
		}
		for _, e := range events {
			text, err := frame(e)
			if err != nil || !write(text) {
				return
			}
			after = e.Seq
		}
		if len(events) == batch {
			continue
		}
		select {
		case <-changed:
		case <-time.After(heartbeat):
			if !write(": still here\n\n") {
				return
			}
		case <-ctx.Done():
			return
		case <-s.ending.Done():
			return
		}
	}
}

// frame writes one event. JSON has no line breaks of its own, so the data is one line.
func frame(e device.Event) (string, error) {
	data, err := json.Marshal(eventOf(e))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", e.Seq, e.Type, data), nil
}
