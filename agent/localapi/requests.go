package localapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/device"
)

func (s *service) requests(api huma.API) {
	huma.Register(api, operation("get-consent", http.MethodGet, "/consent", "Who may write to this person", 409), s.consent)
	huma.Register(api, operation("set-consent", http.MethodPut, "/consent", "Set who may write to this person", 409, 422), s.setConsent)
	huma.Register(api, operation("list-requests", http.MethodGet, "/requests", "Who waits to be accepted, oldest first", 409), s.listRequests)
	look := operation("look-at-request", http.MethodGet, "/requests/{id}", "Look at a request without accepting it", 404)
	look.Description = "Nothing is looked up, joined or answered by that: whoever has asked learns nothing."
	huma.Register(api, look, s.lookAt)
	huma.Register(api, operation("decide-request", http.MethodPost, "/requests/{id}", "Accept a request, delete it, or block who has asked", 404, 409, 422), s.decide)
	huma.Register(api, operation("block", http.MethodPost, "/contacts/{handle}/block", "Block somebody, who is not told", 404, 409, 422, 503), s.block)
	huma.Register(api, operation("unblock", http.MethodPost, "/contacts/{handle}/unblock", "Let somebody write again who was blocked", 404, 409, 422, 503), s.unblock)
}

func (s *service) consent(context.Context, *struct{}) (*body[client.Consent], error) {
	return s.consentNow()
}

func (s *service) consentNow() (*body[client.Consent], error) {
	if _, _, err := s.me(); err != nil {
		return nil, refuse(err)
	}
	from, err := s.agent.Consent()
	if err != nil {
		return nil, refuse(err)
	}
	blocked, err := s.agent.Blocked()
	return answer(client.Consent{From: string(from), Blocked: handlesOf(blocked)}, err)
}

func (s *service) setConsent(ctx context.Context, in *struct{ Body client.Ask }) (*body[client.Consent], error) {
	if _, _, err := s.me(); err != nil {
		return nil, refuse(err)
	}
	if err := s.agent.SetConsent(ctx, device.Consent(in.Body.From)); err != nil {
		return nil, refuse(err)
	}
	return s.consentNow()
}

func (s *service) listRequests(context.Context, *struct{}) (*body[client.Requests], error) {
	if _, _, err := s.me(); err != nil {
		return nil, refuse(err)
	}
	list, err := s.agent.Requests()
	out := client.Requests{Requests: []client.Request{}}
	for _, r := range list {
		out.Requests = append(out.Requests, requestOf(r))
	}
	return answer(out, err)
}

func requestOf(r device.Request) client.Request {
	return client.Request{Conversation: r.ID, Handle: agent.HandleOf(r.Actor), Actor: r.Actor, Time: r.Time, Waiting: r.Waiting}
}

func (s *service) lookAt(_ context.Context, in *ConversationPath) (*body[client.Preview], error) {
	p, err := s.agent.LookAt(in.ID)
	out := client.Preview{Request: requestOf(p.Request), Members: handlesOf(p.Members), Messages: []client.Message{}}
	for _, m := range p.Messages {
		out.Messages = append(out.Messages, messageOf(m))
	}
	return answer(out, err)
}

func (s *service) decide(ctx context.Context, in *struct {
	ConversationPath
	Body client.Decision
}) (*body[client.Requests], error) {
	var err error
	switch in.Body.Decision {
	case "accept":
		err = s.agent.AcceptRequest(ctx, in.ID)
	case "delete":
		err = s.agent.DeleteRequest(ctx, in.ID)
	default:
		err = s.blockWaiting(ctx, in.ID)
	}
	if err != nil {
		return nil, refuse(err)
	}
	return s.listRequests(ctx, nil)
}

func (s *service) blockWaiting(ctx context.Context, id string) error {
	list, err := s.agent.Requests()
	if err != nil {
		return err
	}
	for _, r := range list {
		if r.ID == id {
			return s.agent.Block(ctx, r.Actor)
		}
	}
	return device.ErrNoSuchRequest
}

func (s *service) block(ctx context.Context, in *HandlePath) (*body[client.Consent], error) {
	return s.about(ctx, in.Handle, s.agent.Block)
}

func (s *service) unblock(ctx context.Context, in *HandlePath) (*body[client.Consent], error) {
	return s.about(ctx, in.Handle, s.agent.Unblock)
}

// about does something about somebody. Who waits or is blocked is not looked for at their instance, which would tell them.
func (s *service) about(ctx context.Context, handle string, do func(context.Context, string) error) (*body[client.Consent], error) {
	actor, known, err := s.agent.ActorOf(handle)
	if err == nil && !known {
		actor, err = s.agent.Resolve(ctx, handle)
	}
	if err == nil {
		err = do(ctx, actor)
	}
	if err != nil {
		return nil, refuse(err)
	}
	return s.consentNow()
}
