package localapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/agent/client"
)

func (s *service) distrusted(api huma.API) {
	huma.Register(api, operation("list-distrusted-logs", http.MethodGet, "/logs/distrusted", "Logs in which nothing new is believed, and the proof against them"), s.listDistrusted)
}

func (s *service) listDistrusted(context.Context, *struct{}) (*body[client.DistrustedLogs], error) {
	list, err := s.agent.Distrusted()
	out := client.DistrustedLogs{Logs: []client.DistrustedLog{}}
	for _, l := range list {
		state := "unproven"
		if l.Split {
			state = "split"
		}
		out.Logs = append(out.Logs, client.DistrustedLog{Host: agent.HostOf(l.Instance), State: state, Found: timeOf(l.Found), Evidence: string(l.Evidence)})
	}
	return answer(out, err)
}
