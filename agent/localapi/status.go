package localapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/agent/client"
)

const (
	maxUndelivered  = 20
	undeliveredKept = 28 * 24 * time.Hour // after it was written, which can be 14 days before it is given up; with the message it stays for good
)

func (s *service) status(api huma.API) {
	op := operation("get-status", http.MethodGet, "/status", "How things stand: what works, what waits, what did not arrive")
	op.Description = "It asks nobody, and answers before a login, too."
	huma.Register(api, op, s.standing)
}

func (s *service) standing(context.Context, *struct{}) (*body[client.Status], error) {
	out := client.Status{Troubles: []client.Trouble{}, Conversations: []client.Conversation{}, Undelivered: []client.Message{}}
	account, ok, refused, err := s.agent.Account()
	if err != nil || !ok {
		return answer(out, err)
	}
	me := accountOf(account, refused)
	out.Account = &me
	if err := s.standingOf(account.Actor, &out); err != nil {
		return nil, refuse(err)
	}
	since, current := s.agent.Away()
	out.Connected, out.AwaySince = since.IsZero() && current, timeOf(since)
	out.Troubles = append(out.Troubles, accountTroubles(me, since, out.Unsent)...)
	return answer(out, s.addAlarms(&out))
}

// standingOf fills in what is of conversations.
func (s *service) standingOf(me string, out *client.Status) error {
	list, err := s.agent.Conversations()
	if err != nil {
		return err
	}
	for _, c := range list {
		out.Unsent += c.Unsent
		if x := conversationOf(c, me); len(x.Troubles) > 0 || x.Unsent > 0 {
			out.Conversations = append(out.Conversations, x)
		}
	}
	missed, err := s.agent.Undelivered(time.Now().Add(-undeliveredKept), maxUndelivered)
	if err != nil {
		return err
	}
	for _, m := range missed {
		out.Undelivered = append(out.Undelivered, messageOf(m))
	}
	requests, err := s.agent.Requests()
	out.Requests = len(requests)
	return err
}

// accountTroubles are those of the account and its instance.
func accountTroubles(me client.Account, since time.Time, unsent int) (list []client.Trouble) {
	host := agent.HostOf(me.Instance)
	switch {
	case me.State == "removed":
		list = append(list, client.Trouble{
			Code: "device_removed", Sentence: "This device is not in the list of your account any more (" + me.Reason + "): it neither sends nor receives.",
			Next: "What it has can still be read here.", Help: "To write again: log in on a fresh home with --reset and a new code from your instance's admin.",
		})
	case me.State == "login_required":
		list = append(list, client.Trouble{
			Code: me.State, Sentence: host + " does not know this device any more, and gives it nothing.",
			Next: "Nothing is lost: what you write is kept here and sent after the login.", Help: "Get a new code from your instance's admin, and: waxwing login " + me.Handle,
		})
	case !since.IsZero():
		x := client.Trouble{
			Code: "instance_unreachable", Since: timeOf(since), Sentence: "Your own instance, " + host + ", has not answered since " + when(since) + ".",
			Next: "It is tried every few seconds. What you write is kept on this device and sent as soon as it answers; what others write waits with their instances.",
		}
		if unsent > 0 {
			x.Help = "Nothing has to be done. Leave the agent running, or start it again later."
		}
		list = append(list, x)
	}
	return list
}

// addAlarms says that there is more to see elsewhere.
func (s *service) addAlarms(out *client.Status) error {
	m, ok, err := s.agent.Monitor()
	if err != nil || !ok {
		return err
	}
	for _, a := range monitorOf(m).Alarms {
		if !a.Seen {
			out.Troubles = append(out.Troubles, client.Trouble{
				Code: a.Code, Since: timeOf(a.Told), Sentence: a.Detail, Next: "It is told until you say that you have seen it: waxwing log show", Help: a.Help,
			})
		}
	}
	return nil
}
