package localapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/agent/client"
)

func (s *service) distrusted(api huma.API) {
	huma.Register(api, operation("list-distrusted-logs", http.MethodGet, "/logs/distrusted", "Logs in which nothing new is believed, hubs that lied, and the proof against them"), s.listDistrusted)
}

func (s *service) listDistrusted(context.Context, *struct{}) (*body[client.DistrustedLogs], error) {
	list, err := s.agent.Distrusted()
	hubs, errHubs := s.agent.LyingHubs()
	out := client.DistrustedLogs{Logs: []client.DistrustedLog{}, Hubs: []client.LyingHub{}}
	for _, h := range hubs {
		out.Hubs = append(out.Hubs, client.LyingHub{Host: agent.HostOf(h.Hub), Conversation: h.Conversation, Found: h.Found, Evidence: string(h.Evidence)})
	}
	for _, l := range list {
		state := "unproven"
		if l.Split {
			state = "split"
		}
		out.Logs = append(out.Logs, client.DistrustedLog{Host: agent.HostOf(l.Instance), State: state, Found: timeOf(l.Found), Evidence: string(l.Evidence)})
	}
	return answer(out, errors.Join(err, errHubs))
}
