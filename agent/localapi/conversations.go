package localapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waxwing-dm/waxwing/agent/client"
)

func (s *service) conversations(api huma.API) {
	huma.Register(api, operation("list-conversations", http.MethodGet, "/conversations", "All conversations, oldest first", 409), s.list)
	start := operation("start-conversation", http.MethodPost, "/conversations", "Start a conversation", 404, 409, 422, 503)
	start.DefaultStatus = http.StatusCreated
	huma.Register(api, start, s.start)
	huma.Register(api, operation("get-conversation", http.MethodGet, "/conversations/{id}", "One conversation", 404), s.conversation)
	huma.Register(api, operation("add-members", http.MethodPost, "/conversations/{id}/members",
		"Add people; they read what comes after", 403, 404, 409, 422, 503), s.add)
	huma.Register(api, operation("remove-member", http.MethodDelete, "/conversations/{id}/members/{handle}",
		"Remove somebody; they read nothing that follows", 403, 404, 409, 422), s.remove)
	huma.Register(api, operation("make-admin", http.MethodPut, "/conversations/{id}/members/{handle}/admin",
		"Make a member an admin; who is one already stays one", 403, 404, 409, 422, 503), s.setAdmin(true))
	huma.Register(api, operation("unmake-admin", http.MethodDelete, "/conversations/{id}/members/{handle}/admin",
		"Make an admin a member like the others", 403, 404, 409, 422, 503), s.setAdmin(false))
	huma.Register(api, operation("leave-conversation", http.MethodPost, "/conversations/{id}/leave",
		"Leave it, after what was asked for before; nothing is sent from now on", 403, 404, 409, 422, 503), s.leave)
	huma.Register(api, operation("move-hub", http.MethodPost, "/conversations/{id}/hub",
		"Have another member's instance keep the order of changes", 403, 404, 409, 422, 503), s.moveHub)
	huma.Register(api, operation("resume-conversation", http.MethodPost, "/conversations/{id}/resume", "Try again what a conversation is paused for", 404), s.resume)
	huma.Register(api, operation("resync-conversation", http.MethodPost, "/conversations/{id}/resync",
		"Come back into it with new keys, if this device seems to have lost the thread", 404, 409), s.resync)
}

// ConversationPath is the path of what belongs to a conversation. Exported, as Idempotent is, because the library fills in no others.
type ConversationPath struct {
	ID string `path:"id" maxLength:"128" doc:"Id of the conversation"`
}

func (s *service) list(context.Context, *struct{}) (*body[client.Conversations], error) {
	me, _, err := s.me()
	if err != nil {
		return nil, refuse(err)
	}
	list, err := s.agent.Conversations()
	if err != nil {
		return nil, refuse(err)
	}
	out := client.Conversations{Conversations: []client.Conversation{}}
	for _, c := range list {
		out.Conversations = append(out.Conversations, conversationOf(c, me.Actor))
	}
	return answer(out, nil)
}

// show answers with a conversation as it is now.
func (s *service) show(id string) (*body[client.Conversation], error) {
	me, _, err := s.me()
	if err != nil {
		return nil, refuse(err)
	}
	c, err := s.agent.Conversation(id)
	return answer(conversationOf(c, me.Actor), err)
}

func (s *service) start(ctx context.Context, in *struct{ Body client.Start }) (*body[client.Conversation], error) {
	actors, err := s.actors(ctx, in.Body.To)
	if err != nil {
		return nil, refuse(err)
	}
	begin := s.agent.StartConversation
	if in.Body.Plain {
		begin = s.agent.StartPlain
	}
	id, err := begin(ctx, actors)
	if err != nil {
		return nil, refuse(err)
	}
	return s.show(id)
}

func (s *service) conversation(_ context.Context, in *ConversationPath) (*body[client.Conversation], error) {
	return s.show(in.ID)
}

func (s *service) add(ctx context.Context, in *struct {
	ConversationPath
	Body client.Handles
}) (*body[client.Conversation], error) {
	actors, err := s.actors(ctx, in.Body.Handles)
	if err != nil {
		return nil, refuse(err)
	}
	if err := s.agent.AddMembers(ctx, in.ID, actors); err != nil {
		return nil, refuse(err)
	}
	return s.show(in.ID)
}

// MemberPath is the path of a member of a conversation.
type MemberPath struct {
	ConversationPath
	Handle string `path:"handle" maxLength:"320"`
}

func (s *service) remove(ctx context.Context, in *MemberPath) (*body[client.Conversation], error) {
	actors, err := s.actors(ctx, []string{in.Handle})
	if err != nil {
		return nil, refuse(err)
	}
	if err := s.agent.RemoveMembers(in.ID, actors); err != nil {
		return nil, refuse(err)
	}
	return s.show(in.ID)
}

func (s *service) setAdmin(admin bool) func(context.Context, *MemberPath) (*body[client.Conversation], error) {
	return func(ctx context.Context, in *MemberPath) (*body[client.Conversation], error) {
		actors, err := s.actors(ctx, []string{in.Handle})
		if err != nil {
			return nil, refuse(err)
		}
		if err := s.agent.SetAdmin(in.ID, actors[0], admin); err != nil {
			return nil, refuse(err)
		}
		return s.show(in.ID)
	}
}

func (s *service) leave(ctx context.Context, in *struct {
	ConversationPath
	Body client.Leave
}) (*body[client.Conversation], error) {
	var heir string
	if in.Body.Admin != "" {
		actors, err := s.actors(ctx, []string{in.Body.Admin})
		if err != nil {
			return nil, refuse(err)
		}
		heir = actors[0]
	}
	if err := s.agent.Leave(in.ID, heir); err != nil {
		return nil, refuse(err)
	}
	return s.show(in.ID)
}

func (s *service) resync(_ context.Context, in *ConversationPath) (*body[client.Conversation], error) {
	if err := s.agent.Resync(in.ID); err != nil {
		return nil, refuse(err)
	}
	return s.show(in.ID)
}

func (s *service) moveHub(ctx context.Context, in *struct {
	ConversationPath
	Body client.Move
}) (*body[client.Conversation], error) {
	if err := s.agent.MoveHub(ctx, in.ID, in.Body.Instance); err != nil {
		return nil, refuse(err)
	}
	return s.show(in.ID)
}

func (s *service) resume(_ context.Context, in *ConversationPath) (*body[client.Conversation], error) {
	if err := s.agent.Resume(in.ID); err != nil {
		return nil, refuse(err)
	}
	return s.show(in.ID)
}
