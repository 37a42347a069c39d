package localapi

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/device"
)

func (s *service) logs(api huma.API) {
	huma.Register(api, operation("get-logs", http.MethodGet, "/logs", "The logs that prove people's keys, and the watch over the own account", 409), s.knownLogs)
	scan := operation("scan-log", http.MethodPost, "/logs/scan", "Watch the own account now", 409)
	scan.DefaultStatus = http.StatusAccepted
	scan.Description = "Answers with the number of a run that begins as soon as the one before it has ended. What the logs say then tells when " +
		"it has ended, and why if it did not come to its end."
	huma.Register(api, scan, s.scan)
	huma.Register(api, operation("see-alarms", http.MethodPost, "/logs/seen", "The person has seen all alarms", 409), s.alarmsSeen)
	huma.Register(api, operation("get-proof", http.MethodGet, "/logs/proof", "A directory answer, not judged, and what to hold it against", 404, 409, 422, 502, 503), s.proof)
}

func (s *service) knownLogs(context.Context, *struct{}) (*body[client.Logs], error) {
	me, _, err := s.me()
	if err != nil {
		return nil, refuse(err)
	}
	logs, err := s.agent.PinnedLogs()
	if err != nil {
		return nil, refuse(err)
	}
	out := client.Logs{Logs: []client.Log{}, Scan: scanOf(s.agent.Scanning())}
	for _, l := range logs {
		out.Logs = append(out.Logs, client.Log{
			Instance: l.Instance, Own: l.Instance == me.Instance, Origin: l.Log.Origin, Key: l.Log.Key, Size: l.Log.Size,
			Root: hex.EncodeToString(l.Log.Root[:]),
		})
	}
	m, ok, err := s.agent.Monitor()
	if ok {
		out.Monitor = monitorOf(m)
	}
	return answer(out, err)
}

func (s *service) scan(_ context.Context, in *struct{ Body client.StartScan }) (*body[client.Scan], error) {
	number, err := s.agent.StartScan(in.Body.FromStart)
	return answer(client.Scan{Number: number, Running: true, FromStart: in.Body.FromStart}, err)
}

func (s *service) alarmsSeen(ctx context.Context, _ *struct{}) (*body[client.Logs], error) {
	if err := s.agent.AlarmsSeen(); err != nil {
		return nil, refuse(err)
	}
	return s.knownLogs(ctx, nil)
}

func (s *service) proof(ctx context.Context, in *struct {
	Handle string `query:"handle" required:"true" maxLength:"320"`
}) (*body[client.Proof], error) {
	me, _, err := s.me()
	if err != nil {
		return nil, refuse(err)
	}
	actor, err := s.agent.Resolve(ctx, in.Handle)
	if err != nil {
		return nil, refuse(err)
	}
	known, record, bytes, err := s.agent.Proof(ctx, actor)
	if err != nil {
		return nil, refuse(err)
	}
	p := client.Proof{
		Handle: agent.HandleOf(actor), Actor: actor, Time: time.Now().UTC(), Origin: known.Log.Origin, Key: known.Log.Key, VRF: known.Log.VRF,
		Size: known.Log.Size, Note: known.Log.Note, Record: record, Answer: bytes,
	}
	if p.Size > 0 {
		p.Root = known.Log.Root[:]
	}
	logs, err := s.agent.PinnedLogs()
	for _, l := range logs {
		if l.Instance == me.Instance {
			p.Own = l.Log.Origin
		}
	}
	return answer(p, err)
}

func monitorOf(m device.Monitor) *client.Monitor {
	out := &client.Monitor{
		Instance: m.Instance, Started: m.Started, Read: m.Read, Target: m.Target, Scanned: timeOf(m.Scanned), Trouble: m.Trouble, Since: timeOf(m.Since),
		Alarms: []client.Alarm{}, More: m.More,
	}
	for _, a := range m.Alarms {
		alarm := client.Alarm{Code: a.Code, Detail: a.Detail, Help: a.Help, Devices: orEmpty(a.Devices), Told: a.Told, Seen: a.Seen}
		if a.Index >= 0 {
			alarm.Index = &a.Index
		}
		out.Alarms = append(out.Alarms, alarm)
	}
	return out
}

func scanOf(s agent.Scan) client.Scan {
	return client.Scan{Number: s.Number, Running: s.Running, FromStart: s.FromStart, Done: s.Done, Total: s.Total, Error: scanError(s.Err)}
}

// scanError is a run's end in one sentence.
func scanError(err error) string {
	var wrong *device.LogError
	var f failure
	switch {
	case err == nil:
		return ""
	case errors.As(err, &wrong):
		return fmt.Sprintf("%s (check %s)", wrong.Reason, wrong.Check)
	case errors.Is(err, device.ErrTooLarge):
		return "the log has more than a million entries, which is too much to replay on this device"
	case errors.As(refuse(err), &f):
		return f.Detail
	}
	return "it was broken off"
}
