//go:build linux

package partition_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/internal/problem"
)

// A room is a conversation of the run. Its admin puts the guest out and lets them in again, while everybody talks.
type room struct {
	name, admin, guest string
	always             []string // who is in it all the time, the admin among them

	id      string
	guestIn bool // as the admin has been promised; only the admin's speaker uses it
	changes int  // in this round
}

func rooms() []*room {
	return []*room{
		{name: "at a", admin: "alice", guest: "dora", always: []string{"alice", "bob", "carol"}},
		{name: "at b", admin: "bob", guest: "carol", always: []string{"bob", "alice", "dora"}},
		{name: "at c", admin: "carol", always: []string{"carol", "alice", "bob", "dora"}},
	}
}

func (r *room) members() []string {
	if r.guestIn {
		return append(slices.Clone(r.always), r.guest)
	}
	return r.always
}

// A talk is what is said in the rooms.
type talk struct {
	w     *world
	rooms []*room

	mu       sync.Mutex
	said     []utterance
	anew     int // how many of them, since their authors were told that the first was given up
	changes  int // of membership
	refused  []string
	followed map[string]*following  // by name
	read     map[[2]string]*reading // by name and room
}

// following is what somebody who follows has been shown.
type following struct {
	cursors []uint64
	told    []string // texts of messages
	givenUp []string // texts of their own that came too late, after somebody had joined
}

// reading is how far somebody's messages of a room have been read.
type reading struct {
	texts []string
	after uint64
}

const (
	callTime = 5 * time.Second // for the local API: whoever does not answer by then is asked again
	breath   = 150 * time.Millisecond
)

// round has everybody speak until the context ends. It returns when all that was begun is promised, which may be later.
func (k *talk) round(ctx context.Context, seed uint64) {
	for _, r := range k.rooms {
		r.changes = 0
	}
	var speakers sync.WaitGroup
	for i, r := range residents {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		speakers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				k.turn(r.name, rng)
				select {
				case <-ctx.Done():
				case <-time.After(time.Duration(rng.Int64N(int64(2 * *pause)))):
				}
			}
		})
	}
	speakers.Wait()
}

// turn is one thing that somebody does.
func (k *talk) turn(who string, rng *rand.Rand) {
	r := k.rooms[rng.IntN(len(k.rooms))]
	switch {
	case r.guest != "" && r.admin == who && r.changes < *changes && rng.IntN(4) == 0:
		k.change(r)
	default:
		k.say(who, r)
	}
}

// say sends a text until it is acknowledged: the same one, under the same key. Who is not in the room at the time is told so.
func (k *talk) say(who string, r *room) {
	key := uuid.NewString()
	u := utterance{conversation: r.id, sender: who, text: fmt.Sprintf("%s in the room %s: %s", who, r.name, key)}
	switch {
	case who == r.guest: // being put out, the guest may be the only one who has it
	case who == r.admin && r.guestIn:
		u.must = r.members()
	case who == r.admin && r.guest != "":
		u.must, u.never = r.always, []string{r.guest}
	default:
		u.must = r.always
	}
	err := k.insist(func(ctx context.Context) error {
		_, err := k.w.people[who].Send(ctx, key, client.Outgoing{Conversation: r.id, Text: u.text})
		return err
	})
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		if who != r.guest {
			k.refused = append(k.refused, fmt.Sprintf("%s was refused: %v", u.text, err))
		}
		return
	}
	k.said = append(k.said, u)
}

// change puts the guest out or lets them in.
func (k *talk) change(r *room) {
	err := k.insist(func(ctx context.Context) error {
		c, err := k.w.people[r.admin].Conversation(ctx, r.id)
		if err != nil || holds(c, r.guest) != r.guestIn {
			return errors.Join(err, errNotYet) // what was asked for before is not done
		}
		if r.guestIn {
			_, err = k.w.people[r.admin].RemoveMember(ctx, r.id, handle(r.guest))
		} else {
			_, err = k.w.people[r.admin].AddMembers(ctx, r.id, handle(r.guest))
		}
		return err
	})
	if errors.Is(err, errNotYet) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		k.refused = append(k.refused, fmt.Sprintf("a change of the room %s was refused: %v", r.name, err))
		return
	}
	if r.guestIn {
		k.excuse(r)
	}
	r.guestIn = !r.guestIn
	r.changes++
	k.changes++
}

// excuse: after one's own removal nothing that comes is read any more (spec/conversation.md), and the hub's word of it may be faster than a
// message that waits for a line. So the guest may miss what was on its way; what came before the last healing was looked for then.
func (k *talk) excuse(r *room) {
	for i, u := range k.said {
		if u.conversation == r.id {
			k.said[i].must = slices.DeleteFunc(slices.Clone(u.must), func(who string) bool { return who == r.guest })
		}
	}
}

var errNotYet = errors.New("not yet")

func holds(c client.Conversation, name string) bool {
	return slices.ContainsFunc(c.Members, func(m client.Member) bool { return m.Handle == handle(name) })
}

// insist calls until there is an answer. An error is the agent's own no.
func (k *talk) insist(call func(context.Context) error) error {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), callTime)
		err := call(ctx)
		cancel()
		var p *problem.Problem
		if err == nil || errors.Is(err, errNotYet) || errors.As(err, &p) && !p.Retry {
			return err
		}
		if k.w.over() {
			return err
		}
		time.Sleep(breath)
	}
}

// follow reads somebody's events as an app would, with a new connection whenever one breaks, until the context ends.
func (k *talk) follow(ctx context.Context, who string) {
	shown := k.followed[who]
	var cursor uint64
	for ctx.Err() == nil {
		_ = k.w.people[who].Follow(ctx, cursor, func(e client.Event) error {
			k.mu.Lock()
			defer k.mu.Unlock()
			cursor = e.Cursor
			shown.take(e)
			return nil
		})
		time.Sleep(breath)
	}
}

func (f *following) take(e client.Event) {
	f.cursors = append(f.cursors, e.Cursor)
	if e.Type == "message.received" && e.Message != nil {
		f.told = append(f.told, e.Message.Text)
	}
	if e.Type == "message.state" && e.Code == "too_late" && e.Message != nil {
		f.givenUp = append(f.givenUp, e.Message.Text)
	}
}

// sayAnew does what people do who are told that a text of theirs came too late for some, and was not written for others who are there now: they say
// another. Who has the first one may have it; nobody else may miss it without its author's knowing.
func (k *talk) sayAnew() {
	k.mu.Lock()
	var late []utterance
	for i, u := range k.said {
		if slices.Contains(k.followed[u.sender].givenUp, u.text) && len(u.must) > 0 {
			late = append(late, u)
			k.said[i].must = nil
		}
	}
	k.anew += len(late)
	k.mu.Unlock()
	for _, u := range late {
		for _, r := range k.rooms {
			if r.id == u.conversation {
				k.say(u.sender, r)
			}
		}
	}
}

// lookTime is for all calls that it takes to see what an agent has.
const lookTime = 20 * time.Second

// look asks an agent for what it has. Unless it is to be all, what was read before is not read again.
func (k *talk) look(who string, all bool) (v view, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	v = view{conversations: map[string]standing{}, texts: map[string][]string{}}
	for _, r := range k.rooms {
		c, err := k.w.people[who].Conversation(ctx, r.id)
		if isUnknown(err) {
			continue
		}
		if err != nil {
			return v, err
		}
		v.conversations[r.id] = standing{c.State, c.Epoch, c.Safety, handles(c), c.Waiting}
		if v.texts[r.id], err = k.texts(ctx, who, r.id, all); err != nil {
			return v, err
		}
	}
	k.mu.Lock()
	shown := following{cursors: slices.Clone(k.followed[who].cursors), told: slices.Clone(k.followed[who].told)}
	k.mu.Unlock()
	v.followed, v.events, v.told = shown.cursors, shown.cursors, shown.told
	if !all {
		return v, nil
	}
	again, err := k.events(ctx, who)
	v.events, v.told = again.cursors, again.told
	return v, err
}

func isUnknown(err error) bool {
	var p *problem.Problem
	return errors.As(err, &p) && p.Code == "no_such_conversation"
}

func handles(c client.Conversation) string {
	var list []string
	for _, m := range c.Members {
		list = append(list, m.Handle)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func (k *talk) texts(ctx context.Context, who, id string, all bool) (texts []string, err error) {
	k.mu.Lock()
	before := k.read[[2]string{who, id}]
	if before == nil || all {
		before = new(reading)
	}
	k.mu.Unlock()
	for r := *before; ; {
		page, err := k.w.people[who].Messages(ctx, id, r.after, client.MaxPage)
		if err != nil {
			return nil, err
		}
		for _, m := range page.Messages {
			r.texts = append(r.texts[:len(r.texts):len(r.texts)], m.Text)
			r.after = m.Seq
		}
		if len(page.Messages) < client.MaxPage {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.read[[2]string{who, id}] = &r
			return r.texts, nil
		}
	}
}

// quiet is how long nothing comes at the end of a list of events.
const quiet = time.Second

// events reads all events there are.
func (k *talk) events(ctx context.Context, who string) (shown following, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	idle := time.AfterFunc(3*quiet, cancel)
	defer idle.Stop()
	err = k.w.people[who].Follow(ctx, 0, func(e client.Event) error {
		idle.Reset(quiet)
		shown.take(e)
		return nil
	})
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return shown, err
}

// faults is what keeps the instances from having converged.
func (k *talk) faults(everything bool) (faults []string, views map[string]view) {
	views = map[string]view{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, r := range residents {
		all.Go(func() {
			v, err := k.look(r.name, everything)
			mu.Lock()
			defer mu.Unlock()
			views[r.name] = v
			if err != nil {
				faults = append(faults, fmt.Sprintf("away: %s does not answer: %v", r.name, err))
			}
		})
	}
	all.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	return append(faults, compare(k.said, views, k.memberships())...), views
}

func (k *talk) memberships() map[string][]string {
	members := map[string][]string{}
	for _, r := range k.rooms {
		members[r.id] = r.members()
	}
	return members
}
