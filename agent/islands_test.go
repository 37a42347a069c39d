package agent_test

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/sidecar"
)

// An island is a sidecar that others reach by real HTTP, through several lives, with the agents of its people.
type island struct {
	*world
	sea      *sea
	dir      string
	listener net.Listener
	served   chan error
}

// A sea is what islands share: a clock, and how to find each other.
type sea struct {
	t     *testing.T
	hosts map[string]string

	mu     sync.Mutex
	offset time.Duration
}

func (s *sea) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.offset)
}

func (s *sea) advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset += d
}

// islands are sidecars at a.test, b.test and so on.
func islands(t *testing.T, n int) (s *sea, all []*island) {
	s = &sea{t: t, hosts: map[string]string{}}
	for i := range n {
		host := fmt.Sprintf("%c.test", 'a'+i)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		s.hosts[host] = l.Addr().String()
		all = append(all, &island{
			world: &world{t: t, host: host, hosts: s.hosts, now: s.now}, sea: s, dir: filepath.Join(t.TempDir(), host), listener: l,
		})
	}
	for _, i := range all {
		i.rise()
	}
	return s, all
}

func (i *island) instance() string { return "http://" + i.host }

// rise starts the sidecar on what is in its folder.
func (i *island) rise() {
	var err error
	if i.listener == nil {
		i.listener, err = net.Listen("tcp", i.hosts[i.host])
		require.NoError(i.t, err)
	}
	i.server, err = sidecar.Open(sidecar.Config{Instance: i.instance(), DataDir: i.dir, Hosts: i.hosts, Now: i.sea.now})
	require.NoError(i.t, err)
	served := make(chan error, 1)
	i.served = served
	go func(s *sidecar.Sidecar, l net.Listener) { served <- s.Serve(ctx, l) }(i.server, i.listener)
	i.t.Cleanup(i.sink)
}

// sink kills it.
func (i *island) sink() {
	if i.server == nil {
		return
	}
	i.server.Kill()
	<-i.served
	i.server, i.listener = nil, nil
}

// backUp copies the folder of a sidecar that does not run.
func (i *island) backUp() (dir string) {
	dir = filepath.Join(i.t.TempDir(), "backup")
	require.NoError(i.t, os.CopyFS(dir, os.DirFS(i.dir).(fs.ReadDirFS)))
	return dir
}

// restore has it start with an older folder the next time.
func (i *island) restore(dir string) { i.dir = dir }

// pass lets time go by, in steps, in which every agent looks after its conversations. It ends early when done says so.
func (s *sea) pass(d, step time.Duration, people []*person, done func() bool) {
	for until := s.now().Add(d); s.now().Before(until); {
		s.advance(step)
		for _, p := range people {
			_ = p.LookAfter(ctx) // an instance may be away
			p.Look()
		}
		time.Sleep(settle)
		if done != nil && done() {
			return
		}
	}
}

const (
	settle  = 50 * time.Millisecond
	catchUp = 3 * time.Minute // an agent whose instance was away asks for it less and less often
)

// everybody awaits that all of them have just these texts, in any order: those of two people may come in two.
func everybody(id string, want []string, people ...*person) {
	want = slices.Sorted(slices.Values(want))
	for _, p := range people {
		p.w.t.Helper()
		var got []string
		deadline := time.Now().Add(catchUp)
		for time.Now().Before(deadline) {
			if got = slices.Sorted(slices.Values(p.texts(id))); slices.Equal(got, want) {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		require.Equal(p.w.t, want, got, p.handle)
	}
}

// agree awaits that all of them are in one epoch, with these members.
func agree(id string, members int, people ...*person) {
	people[0].w.t.Helper()
	require.Eventually(people[0].w.t, func() bool {
		first, err := people[0].Conversation(id)
		if err != nil || len(first.Members) != members || first.Waiting > 0 {
			return false
		}
		for _, p := range people[1:] {
			c, err := p.Conversation(id)
			if err != nil || string(c.EpochAuthenticator) != string(first.EpochAuthenticator) {
				return false
			}
		}
		return true
	}, catchUp, 20*time.Millisecond, "they agree")
}

func (p *person) say(id, text string) string {
	_, err := p.Send(id, text, nil, "")
	require.NoError(p.w.t, err)
	return text
}

// moves are how often a person was told that the conversation has another hub.
func (p *person) moves() (n int) {
	for _, code := range p.told(device.EventConversationUpdated) {
		if code == device.CodeHubMoved {
			n++
		}
	}
	return n
}

// greet has the first of them say hello to the others, who hear it.
func greet(people ...*person) (id string) {
	var to []string
	for _, p := range people[1:] {
		to = append(to, p.actor())
	}
	m, err := people[0].SendTo(ctx, to, "hello", nil, "")
	require.NoError(people[0].w.t, err)
	everybody(m.Conversation, []string{"hello"}, people...)
	return m.Conversation
}

// dumpFailed is deferred: it shows what everybody had when a test failed.
func dumpFailed(id string, people ...*person) {
	for _, p := range people {
		if p.w.t.Failed() {
			p.dump(id)
		}
	}
}

// dump is for a test that has failed.
func (p *person) dump(id string) {
	if p.Agent == nil {
		return
	}
	c, err := p.Conversation(id)
	p.w.t.Logf("%s: %+v %v", p.handle, c, err)
	events, _ := p.Events(0, 10000)
	for _, e := range events {
		text := ""
		if e.Message != nil {
			text = e.Message.Text + " " + string(e.Message.State)
		}
		p.w.t.Logf("  %s %s %s %s %s %s", e.Time.Format("02 15:04:05"), e.Type, e.Actor, e.Code, e.Detail, text)
	}
	p.w.t.Log(p.log.String())
}
