package localapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/device"
)

// body is an answer.
type body[T any] struct{ Body T }

func answer[T any](v T, err error) (*body[T], error) {
	if err != nil {
		return nil, refuse(err)
	}
	return &body[T]{v}, nil
}

func operation(id, method, path, summary string, errors ...int) huma.Operation {
	return huma.Operation{OperationID: id, Method: method, Path: "/v1" + path, Summary: summary, Errors: append(errors, http.StatusUnauthorized)}
}

func (s *service) people(api huma.API) {
	huma.Register(api, operation("login", http.MethodPost, "/login", "Make this device one of an account", 401, 409, 422, 503), s.login)
	huma.Register(api, operation("get-account", http.MethodGet, "/account", "Who this device belongs to", 409), s.account)
	huma.Register(api, operation("get-contact", http.MethodGet, "/contacts/{handle}", "Look somebody up in the directory", 404, 409, 422, 503), s.contact)
	huma.Register(api, operation("accept-keys", http.MethodPost, "/contacts/{handle}/accept",
		"Take somebody's keys for theirs after a reset; what waits for that is sent", 404, 409, 422, 503), s.accept)
	huma.Register(api, operation("list-devices", http.MethodGet, "/devices", "The devices of the account", 409), s.devices)
	huma.Register(api, operation("revoke-device", http.MethodPost, "/devices/this/revocation", "Take this device off the account's list, for good", 409, 503), s.revokeDevice)
}

func (s *service) login(ctx context.Context, in *struct{ Body client.Login }) (*body[client.Account], error) {
	login := s.agent.Login
	if in.Body.Reset {
		login = s.agent.LoginReset
	}
	a, err := login(ctx, in.Body.Handle, in.Body.Code)
	return answer(accountOf(a, false), err)
}

// me is the account, or device.ErrNotEnrolled.
func (s *service) me() (account device.Account, needsLogin bool, err error) {
	account, ok, needsLogin, err := s.agent.Account()
	if err == nil && !ok {
		err = device.ErrNotEnrolled
	}
	return account, needsLogin, err
}

func (s *service) account(context.Context, *struct{}) (*body[client.Account], error) {
	a, needsLogin, err := s.me()
	return answer(accountOf(a, needsLogin), err)
}

// HandlePath is the path of what concerns somebody.
type HandlePath struct {
	Handle string `path:"handle" maxLength:"320"`
}

func (s *service) contact(ctx context.Context, in *HandlePath) (*body[client.Contact], error) {
	if _, _, err := s.me(); err != nil {
		return nil, refuse(err)
	}
	actor, err := s.agent.Resolve(ctx, in.Handle)
	if err != nil {
		return nil, refuse(err)
	}
	return s.lookUp(ctx, actor)
}

// lookUp answers with what is known of an actor, looked up now. That no newer proof is to be had for want of witnesses is no error if there is
// one to tell of.
func (s *service) lookUp(ctx context.Context, actor string) (*body[client.Contact], error) {
	c, err := s.agent.Contact(ctx, actor)
	var unseen *device.NotWitnessedError
	if errors.As(err, &unseen) && c.Belief != nil {
		return answer(contactOf(c, unseen.Reason), nil)
	}
	return answer(contactOf(c, ""), err)
}

func (s *service) accept(ctx context.Context, in *struct {
	HandlePath
	Body client.Accept
}) (*body[client.Contact], error) {
	actor, err := s.agent.Resolve(ctx, in.Handle)
	if err != nil {
		return nil, refuse(err)
	}
	c, err := s.agent.AcceptKeys(actor, in.Body.Resets)
	return answer(contactOf(c, ""), err)
}

func (s *service) devices(ctx context.Context, _ *struct{}) (*body[client.Devices], error) {
	a, _, err := s.me()
	if err != nil {
		return nil, refuse(err)
	}
	if a.Removed != "" {
		return nil, refuse(device.ErrDeviceRemoved)
	}
	c, err := s.agent.Contact(ctx, a.Actor)
	if err != nil {
		return nil, refuse(err)
	}
	out := client.Devices{Devices: []client.Device{}}
	for _, id := range c.Devices {
		out.Devices = append(out.Devices, client.Device{ID: id, This: id == a.DeviceID})
	}
	return answer(out, nil)
}

func (s *service) revokeDevice(ctx context.Context, _ *struct{}) (*body[client.Revoked], error) {
	seen, err := s.agent.RevokeDevice(ctx)
	return answer(client.Revoked{Seen: seen}, err)
}

// actors resolves handles.
func (s *service) actors(ctx context.Context, handles []string) ([]string, error) {
	actors := make([]string, 0, len(handles))
	for _, h := range handles {
		actor, err := s.agent.Resolve(ctx, h)
		if err != nil {
			return nil, err
		}
		actors = append(actors, actor)
	}
	return actors, nil
}
