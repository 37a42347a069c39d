package localapi

import (
	"context"
	"errors"
	"mime"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/problem"
)

func (s *service) messages(api huma.API) {
	huma.Register(api, operation("list-messages", http.MethodGet, "/conversations/{id}/messages", "A page of a conversation, oldest first", 404), s.page)
	send := operation("send-message", http.MethodPost, "/messages", "Send a message", 404, 409, 413, 422, 503)
	send.DefaultStatus = http.StatusAccepted
	send.Description = "Answers when the message is written down on this device. Its state moves on to sending and sent; events tell. " +
		"The same Idempotency-Key with the same body is one message, however often it comes."
	huma.Register(api, send, s.send)
}

// Idempotent is a request that is carried out once per key.
type Idempotent struct {
	Key string `header:"Idempotency-Key" required:"true" minLength:"1" maxLength:"200" doc:"Chosen by the caller; a new one for each message"`
}

func (s *service) page(_ context.Context, in *struct {
	ConversationPath
	After uint64 `query:"after" doc:"seq to begin after"`
	Limit int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}) (*body[client.Messages], error) {
	list, err := s.agent.Messages(in.ID, in.After, in.Limit)
	if err != nil {
		return nil, refuse(err)
	}
	out := client.Messages{Messages: []client.Message{}, Next: in.After}
	for _, m := range list {
		out.Messages, out.Next = append(out.Messages, messageOf(m)), m.Seq
	}
	return answer(out, nil)
}

func (s *service) send(ctx context.Context, in *struct {
	Idempotent
	Body client.Outgoing
}) (*body[client.Message], error) {
	if (len(in.Body.To) == 0) == (in.Body.Conversation == "") {
		return nil, failure{problem.New(http.StatusUnprocessableEntity, "request_invalid", "give either to or conversation")}
	}
	if in.Body.Conversation != "" {
		m, err := s.agent.Send(in.Body.Conversation, in.Body.Text, nil, in.Key)
		return answer(messageOf(m), err)
	}
	actors, err := s.actors(ctx, in.Body.To)
	if err != nil {
		return nil, refuse(err)
	}
	sendTo := s.agent.SendTo
	if in.Body.Plain {
		sendTo = s.agent.SendToPlain
	}
	m, err := sendTo(ctx, actors, in.Body.Text, nil, in.Key)
	return answer(messageOf(m), err)
}

func (s *service) files(api huma.API) {
	up := operation("send-file", http.MethodPost, "/conversations/{id}/files", "Send a file", 404, 409, 413, 422)
	up.DefaultStatus = http.StatusAccepted
	up.MaxBodyBytes = client.MaxFile
	huma.Register(api, up, s.sendFile)
	get := operation("get-file", http.MethodGet, "/conversations/{id}/messages/{seq}/files/{n}", "Fetch and decrypt a file", 404, 502, 503)
	get.Responses = map[string]*huma.Response{"200": {
		Description: "The file", Content: map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
	}}
	huma.Register(api, get, s.file)
}

func (s *service) sendFile(_ context.Context, in *struct {
	ConversationPath
	Idempotent
	Name      string `query:"name" required:"true" minLength:"1" maxLength:"255"`
	MediaType string `query:"media_type" maxLength:"127" default:"application/octet-stream"`
	RawBody   []byte `contentType:"application/octet-stream"`
}) (*body[client.Message], error) {
	f := device.File{Name: in.Name, MediaType: in.MediaType, Data: in.RawBody}
	m, err := s.agent.Send(in.ID, "", []device.File{f}, in.Key)
	return answer(messageOf(m), err)
}

// decrypted is a file on its way to the program that asked. A browser must not take it for a page, whatever its sender says it is.
type decrypted struct {
	Type        string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Policy      string `header:"Content-Security-Policy"`
	Body        []byte
}

func (s *service) file(ctx context.Context, in *struct {
	ConversationPath
	Seq uint64 `path:"seq"`
	N   int    `path:"n" minimum:"0" maximum:"100"`
}) (*decrypted, error) {
	data, meta, err := s.agent.File(ctx, in.ID, in.Seq, in.N)
	if err != nil {
		return nil, refuse(fetching(err))
	}
	disposition := mime.FormatMediaType("attachment", map[string]string{"filename": meta.Name})
	if disposition == "" {
		disposition = "attachment"
	}
	return &decrypted{"application/octet-stream", disposition, "sandbox; default-src 'none'", data}, nil
}

// fetching tells a line that is down from everything else.
func fetching(err error) error {
	var p *problem.Problem
	if errors.As(err, &p) && p.Code == "peer_unreachable" {
		return agent.ErrUnreachable
	}
	return err
}
