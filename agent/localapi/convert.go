package localapi

import (
	"encoding/hex"
	"time"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/device"
)

// What a person has to know about what is plain.
const (
	plainContact = "their instance has no directory: nobody vouches for their keys. The first that are met are believed, and you are told when there are others; " +
		"their instance, or yours, could give out its own instead and read along"
	plainConversation = "plain: nobody vouches for the keys of who is on an instance without a directory; nobody keeps the order of changes, " +
		"so that messages can become unreadable; anybody in it can add others"
)

func accountOf(a device.Account, needsLogin bool) client.Account {
	state := "ready"
	switch {
	case a.Removed != "":
		state = "removed"
	case needsLogin:
		state = "login_required"
	}
	return client.Account{Handle: a.Handle, Actor: a.Actor, Instance: a.Instance, Device: a.DeviceID, State: state, Reason: a.Removed}
}

func contactOf(c device.Contact, problem string) client.Contact {
	out := client.Contact{
		Handle: agent.HandleOf(c.Actor), Actor: c.Actor, State: string(c.State), Devices: orEmpty(c.Devices), Checked: timeOf(c.Checked), Resets: c.Resets,
		Changed: c.Changed, Believed: believedOf(c, problem, time.Now()), Proven: c.Moved,
	}
	if c.State == device.ContactPlain {
		out.Note = plainContact
	}
	if c.MovedTo != "" {
		out.MovedTo = agent.HandleOf(c.MovedTo)
	}
	return out
}

func conversationOf(c device.Conversation, me string) client.Conversation {
	out := client.Conversation{
		ID: c.ID, State: string(c.State), Reason: c.Reason, Created: c.Created, Waiting: c.Waiting, Epoch: c.Epoch, Hub: agent.HostOf(c.Hub),
		Safety: hex.EncodeToString(c.EpochAuthenticator), Members: []client.Member{}, Unsent: c.Unsent, Unreadable: c.Unreadable, Troubles: troublesOf(c, time.Now()),
	}
	if out.Plain = c.Plain; c.Plain {
		out.Note = plainConversation
	}
	for _, m := range c.Members {
		out.Members = append(out.Members, client.Member{
			Handle: agent.HandleOf(m.Actor), Actor: m.Actor, Admin: m.Admin, Me: m.Actor == me, Devices: orEmpty(m.Devices), Gone: m.Unlisted,
		})
	}
	return out
}

func messageOf(m device.Message) client.Message {
	out := client.Message{
		Seq: m.Seq, ID: m.ID, Conversation: m.Conversation, Sender: agent.HandleOf(m.Sender), Actor: m.Sender, Mine: m.Mine, Time: m.Time,
		Published: timeOf(m.Published), Kind: string(m.Kind), Text: m.Text, State: string(m.State), KeysReset: m.KeysReset, Plain: m.Plain, Attachments: []client.Attachment{},
	}
	for n, a := range m.Attachments {
		out.Attachments = append(out.Attachments, client.Attachment{N: n, Name: a.Name, MediaType: a.MediaType, Size: a.Size})
	}
	for _, u := range m.Undelivered {
		out.Undelivered = append(out.Undelivered, client.Missed{Handle: agent.HandleOf(u.Actor), Actor: u.Actor, Code: u.Code, Detail: u.Detail})
	}
	return out
}

func eventOf(e device.Event) client.Event {
	out := client.Event{
		Cursor: e.Seq, Type: string(e.Type), Time: e.Time, Conversation: e.Conversation, Actor: e.Actor, Log: e.Log, Code: e.Code, Detail: e.Detail,
		Refused: e.Refused, Recovered: e.Recovered,
	}
	if e.Actor != "" {
		out.Handle = agent.HandleOf(e.Actor)
	}
	if e.By != "" {
		out.By = agent.HandleOf(e.By)
	}
	if e.Message != nil {
		m := messageOf(*e.Message)
		out.Message = &m
	}
	return out
}

func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// orEmpty makes JSON write [] and not null.
func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
