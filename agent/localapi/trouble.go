package localapi

import (
	"fmt"
	"strings"
	"time"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/device"
)

// What does not work as it should is told in the same order each time: what has happened, what will happen by itself, what to do.

// alarming is when a host that is away is more than being started anew.
const alarming = time.Hour

// troublesOf lists those of a conversation.
func troublesOf(c device.Conversation, now time.Time) []client.Trouble {
	out := []client.Trouble{}
	if c.State == device.StateLeft {
		return out
	}
	if c.State == device.StateLeaving {
		out = append(out, client.Trouble{
			Code: "leaving", Sentence: "You have asked to leave this conversation, and nothing is sent in it any more.",
			Next: "The program of another member lets you go as soon as it runs.",
		})
	}
	if c.State == device.StatePaused {
		out = append(out, paused(c))
	} else if c.Reason != "" {
		out = append(out, held(c))
	}
	if c.Hubless != nil {
		out = append(out, hubless(c, *c.Hubless, now))
	}
	if c.Unreadable > 0 {
		out = append(out, unreadable(c.Unreadable))
	}
	return out
}

// paused is for changes of members that are on hold.
func paused(c device.Conversation) client.Trouble {
	code, why := cutReason(c.Reason)
	x := client.Trouble{
		Code: code, Sentence: "People cannot be added or removed for now: " + why + ".",
		Next: "Messages go on between those who are members. It ends by itself if all members' programs see the reason alike.",
		Help: "If it stays, try again what it is paused for, or come back with new keys: waxwing resync " + short(c.ID),
	}
	switch {
	case c.Plain:
		x.Sentence = "This conversation has come apart: " + why + "."
		x.Next, x.Help = "What you write waits until it was begun anew with the same people, which a program does by itself.", ""
	case code == device.CodeStateLost || code == device.CodeOtherBranch || code == device.CodeResync:
		x.Sentence = "This device has lost the thread of the conversation: " + why + "."
		x.Next, x.Help = "It is coming back by itself. What is written here meanwhile is sent anew to who could not read it.", ""
	}
	return x
}

// held is for what waits in a conversation.
func held(c device.Conversation) client.Trouble {
	code, why := cutReason(c.Reason)
	x := client.Trouble{Code: code, Sentence: "Something waits here: " + why + ".", Next: "It goes on by itself as soon as that is over."}
	switch code {
	case device.CodeKeysReset:
		x.Next = "What you write is kept on this device until then."
		x.Help = "Ask them by another way whether it was they, and only then: waxwing contact accept HANDLE"
	case device.CodeHubAway:
		x.Next = "It is sent as soon as that instance has answered."
		x.Help = "If it must not wait, begin another conversation without them."
	}
	return x
}

func hubless(c device.Conversation, h device.Hubless, now time.Time) client.Trouble {
	host := agent.HostOf(c.Hub)
	x := client.Trouble{Code: device.CodeHubAway, Since: timeOf(h.Since)}
	if h.Moving {
		x.Code = "hub_moving"
		x.Sentence = fmt.Sprintf("The order of changes moves to another instance, and %s has not begun with it yet.", host)
		x.Next = "Messages reach everybody. It is asked again and again, and people can be added and removed once it has begun."
		return x
	}
	x.Sentence = fmt.Sprintf("%s, which keeps the order of changes here, has not answered since %s.", host, when(h.Since))
	x.Next = "Messages reach everybody whose own instance is there; people are added and removed once it answers, and it is asked again and again. "
	if !h.GivenUp.IsZero() {
		x.Next += fmt.Sprintf("If it is still away at %s, the members' programs agree on another instance.", when(h.GivenUp))
		return x
	}
	x.Next += "No other instance can take its place."
	if now.Sub(h.Since) >= alarming {
		x.Help = "If it is gone for good, begin a new conversation with the same people."
	}
	return x
}

func unreadable(n int) client.Trouble {
	what := "A message that reached this device could not be read: its keys were gone by then."
	if n > 1 {
		what = fmt.Sprintf("%d messages that reached this device could not be read: their keys were gone by then.", n)
	}
	return client.Trouble{
		Code: device.CodeCannotDecrypt, Sentence: what,
		Next: "Whose program sent it was asked to send it again, and does when it runs, unless somebody has joined since.",
		Help: "If it matters, ask the others what they wrote.",
	}
}

// cutReason splits a reason into its code and its sentence.
func cutReason(reason string) (code, why string) {
	code, why, ok := strings.Cut(reason, ": ")
	if !ok {
		code, why = reason, reason
	}
	return code, strings.TrimRight(strings.TrimPrefix(why, "device: "), ".")
}

// when is a time as people read it, in the zone of their machine.
func when(t time.Time) string { return t.Local().Format("15:04 on Monday, 2 January") }

func short(id string) string { return id[:min(len(id), 8)] }
