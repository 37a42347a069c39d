package partition_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// hosts are the three instances. Each is a place.
var hosts = []string{"a.example", "b.example", "c.example"}

// residents are the people, where they have their account, and where their agent runs: on the instance's own machine, or on the road.
var residents = []struct{ name, host, place string }{
	{"alice", "a.example", "a.example"}, {"bob", "b.example", "b.example"}, {"carol", "c.example", "c.example"}, {"dora", "a.example", "road"},
}

func handle(name string) string {
	for _, r := range residents {
		if r.name == name {
			return "@" + name + "@" + r.host
		}
	}
	panic("nobody is called " + name)
}

// An utterance is a text that an agent has said it will send. Texts are all different.
type utterance struct {
	conversation, sender, text string
	must                       []string // who is to have it, the sender among them
	never                      []string // who must not
}

// A view is what one agent has to show in the end.
type view struct {
	conversations map[string]standing
	texts         map[string][]string // by conversation: its messages
	told          []string            // texts of the events that told of a message
	followed      []uint64            // cursors of the events that came while it was followed
	events        []uint64            // and of all events
}

// standing is how an agent sees a conversation.
type standing struct {
	state   string
	epoch   uint64
	safety  string // of the epoch authenticator
	members string
	waiting int
}

// compare finds what is lost, doubled or apart. members are, by conversation, those who are in it.
func compare(said []utterance, views map[string]view, members map[string][]string) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for _, id := range slices.Sorted(maps.Keys(members)) {
		faults = append(faults, apart(id, views, members[id])...)
	}
	for _, u := range said {
		for _, who := range slices.Sorted(maps.Keys(views)) {
			has, told := count(views[who].texts[u.conversation], u.text), count(views[who].told, u.text)
			switch must := slices.Contains(u.must, who); {
			case must && has == 0:
				fault("lost: %s does not have %q", who, u.text)
			case must && told == 0 && who != u.sender:
				fault("lost: no event has told %s of %q", who, u.text)
			case slices.Contains(u.never, who) && has > 0:
				fault("seen: %s has %q and was not in it", who, u.text)
			}
			if has > 1 || told > 1 {
				fault("doubled: %s has %q %d times and was told %d times", who, u.text, has, told)
			}
		}
	}
	for _, who := range slices.Sorted(maps.Keys(views)) {
		if v := views[who]; !slices.Equal(v.followed, v.events) {
			fault("stream: %s was shown the events %s while following, and there are %s", who, span(v.followed), span(v.events))
		}
	}
	return faults
}

// apart compares a conversation among its members.
func apart(id string, views map[string]view, members []string) (faults []string) {
	var names []string
	for _, m := range members {
		names = append(names, handle(m))
	}
	slices.Sort(names)
	first := views[members[0]].conversations[id]
	for _, who := range slices.Sorted(maps.Keys(views)) {
		is, in := views[who].conversations[id], slices.Contains(members, who)
		switch {
		case in && (is.state != "active" || is.waiting != 0):
			faults = append(faults, fmt.Sprintf("apart: %.40s is %s at %s, %d steps wait", id, is.state, who, is.waiting))
		case in && is.members != strings.Join(names, " "):
			faults = append(faults, fmt.Sprintf("apart: %.40s has the members %s at %s, not %s", id, is.members, who, strings.Join(names, " ")))
		case in && (is.epoch != first.epoch || is.safety != first.safety || is.safety == ""):
			faults = append(faults, fmt.Sprintf("apart: %.40s is in epoch %d (%.8s) at %s, in %d (%.8s) at %s", id, is.epoch, is.safety, who, first.epoch, first.safety, members[0]))
		case !in && is.state != "left" && is.state != "":
			faults = append(faults, fmt.Sprintf("apart: %.40s is %s at %s, who is not in it", id, is.state, who))
		}
	}
	return faults
}

func count(texts []string, text string) (n int) {
	for _, t := range texts {
		if t == text {
			n++
		}
	}
	return n
}

// span is a list of cursors in short.
func span(cursors []uint64) string {
	if len(cursors) == 0 {
		return "none"
	}
	return fmt.Sprintf("%d-%d (%d)", cursors[0], cursors[len(cursors)-1], len(cursors))
}

// spoilings are what the comparison must find. Each spoils what one agent has and begins the fault that is to be found.
var spoilings = map[string]func(v *view, id string){
	"lost: bob does not have": func(v *view, id string) { v.texts[id] = v.texts[id][1:] },
	"lost: no event has told bob": func(v *view, id string) {
		v.told = slices.DeleteFunc(slices.Clone(v.told), func(text string) bool { return text == v.texts[id][0] })
	},
	"doubled: bob has": func(v *view, id string) { v.texts[id] = append(slices.Clone(v.texts[id]), v.texts[id][0]) },
	"doubled: bob":     func(v *view, id string) { v.told = append(slices.Clone(v.told), v.texts[id][0]) },
	"apart:": func(v *view, id string) {
		c := v.conversations[id]
		c.safety = "another" + c.safety
		v.conversations[id] = c
	},
	"stream: bob": func(v *view, _ string) { v.followed = v.followed[1:] },
}

// requireSpoilingsFound is the control of the comparison: views in which nothing is wrong, and bob's spoiled. The first message that bob
// has in the conversation must be one that somebody else has said, and that he must have.
func requireSpoilingsFound(t *testing.T, said []utterance, views map[string]view, members map[string][]string, id string) {
	t.Helper()
	require.Empty(t, compare(said, views, members))
	for want, spoil := range spoilings {
		spoiled := maps.Clone(views)
		bob := spoiled["bob"]
		bob.texts, bob.conversations = maps.Clone(bob.texts), maps.Clone(bob.conversations)
		spoil(&bob, id)
		spoiled["bob"] = bob
		faults := compare(said, spoiled, members)
		require.True(t, slices.ContainsFunc(faults, func(f string) bool { return strings.HasPrefix(f, want) }), "%q is not among %q", want, faults)
	}
}

func TestComparison(t *testing.T) {
	said := []utterance{
		{"x", "alice", "one", []string{"alice", "bob"}, []string{"dora"}},
		{"x", "bob", "two", []string{"alice", "bob"}, nil},
	}
	members := map[string][]string{"x": {"alice", "bob"}}
	is := standing{"active", 3, "5afe", "@alice@a.example @bob@b.example", 0}
	events := []uint64{1, 2, 3}
	views := map[string]view{
		"alice": {map[string]standing{"x": is}, map[string][]string{"x": {"one", "two"}}, []string{"two"}, events, events},
		"bob":   {map[string]standing{"x": is}, map[string][]string{"x": {"one", "two"}}, []string{"one"}, events, events},
		"dora":  {map[string]standing{"x": {state: "left"}}, map[string][]string{}, nil, events, events},
	}
	requireSpoilingsFound(t, said, views, members, "x")
	views["dora"] = view{map[string]standing{"x": is}, map[string][]string{"x": {"one"}}, []string{"one"}, events, events}
	faults := compare(said, views, members)
	require.Len(t, faults, 2, "she has read what was not for her, and takes herself for a member")
	require.Contains(t, faults[0], "who is not in it")
	require.Contains(t, faults[1], "seen: dora")
}
