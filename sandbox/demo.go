package sandbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/internal/problem"
)

const (
	patience = 30 * time.Second // for one step; each takes well under one
	pause    = 20 * time.Millisecond
)

// demo is one run of the script. Its texts are new each time, so that what is found was written by this run.
type demo struct {
	*Sandbox
	ctx    context.Context
	out    io.Writer
	id     string              // of the conversation
	said   map[string][]string // by who should read it: the texts, in the order of the conversation
	secret map[string][]byte   // what must not be found, by what it is
	count  int                 // messages
	file   []byte
}

// Demo plays the script and says what it does on out. Its error names the step that failed. The servers are stopped at the end.
func (s *Sandbox) Demo(ctx context.Context, out io.Writer) error {
	d := &demo{Sandbox: s, ctx: ctx, out: out, said: map[string][]string{}, secret: map[string][]byte{}}
	for i, step := range []struct {
		name string
		play func() error
	}{
		{"alice at a.test writes to bob at b.test", d.firstMessage},
		{"bob is asked first: nothing is shown, said or sent before he accepts", d.accept},
		{"bob answers", d.answer},
		{"alice sends a file of 1 MiB", d.sendFile},
		{"both servers crash in the middle of a talk and come back", d.crash},
		{"carol is added and reads only what came after", d.addCarol},
		{"bob is removed and cannot read what follows", d.removeBob},
		{"everybody has everything once, in order", d.compare},
		{"the servers' files, logs and connections are searched for what was said", d.search},
	} {
		start := time.Now()
		if err := step.play(); err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, step.name, err)
		}
		if _, err := fmt.Fprintf(out, "ok  %d. %s (%.1fs)\n", i+1, step.name, time.Since(start).Seconds()); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "demo passed: %d messages, %d instances, 0 plaintext bytes on either server\n", d.count, len(s.boxes))
	return err
}

// text makes up a message and remembers who is to read it.
func (d *demo) text(about string, readers ...string) string {
	random := make([]byte, 12)
	_, _ = rand.Read(random) // does not fail
	text := about + " " + hex.EncodeToString(random)
	d.secret[about] = []byte(text)
	for _, r := range readers {
		d.said[r] = append(d.said[r], text)
	}
	d.count++
	return text
}

// say sends in the conversation. It returns when the text is on the sender's disk.
func (d *demo) say(sender, text string) error {
	_, err := d.people[sender].Send(d.ctx, uuid.NewString(), client.Outgoing{Conversation: d.id, Text: text})
	return err
}

func (d *demo) firstMessage() error {
	if _, err := d.people["bob"].SetConsent(d.ctx, "requests"); err != nil {
		return err
	}
	m, err := d.people["alice"].Send(d.ctx, uuid.NewString(), client.Outgoing{
		To: []string{d.people["bob"].Handle}, Text: d.text("The heron lands at dawn.", "alice", "bob"),
	})
	if err != nil {
		return err
	}
	d.id = m.Conversation
	return d.until("bob is not asked", func() (bool, error) {
		list, err := d.people["bob"].Requests(d.ctx)
		return len(list) == 1 && list[0].Conversation == d.id && list[0].Waiting == 1, err
	})
}

// accept lets bob look at what waits, and take it.
func (d *demo) accept() error {
	bob := d.people["bob"]
	if list, err := bob.Conversations(d.ctx); err != nil || len(list) > 0 {
		return errors.Join(fmt.Errorf("bob is in %d conversations", len(list)), err)
	}
	p, err := bob.LookAt(d.ctx, d.id)
	if err != nil {
		return err
	}
	if len(p.Messages) != 1 || p.Messages[0].Text != d.said["bob"][0] {
		return fmt.Errorf("bob looks and sees %v", p.Messages)
	}
	if _, err := bob.Decide(d.ctx, d.id, "accept"); err != nil {
		return err
	}
	return d.wait("bob")
}

func (d *demo) answer() error {
	if err := d.say("bob", d.text("I will be at the lake.", "alice", "bob")); err != nil {
		return err
	}
	return d.wait("alice")
}

func (d *demo) sendFile() error {
	d.file = make([]byte, 1<<20)
	_, _ = rand.Read(d.file) // does not fail
	const name = "map-of-the-lake-5e1f.bin"
	d.secret["the file's name"] = []byte(name)
	for _, r := range []string{"alice", "bob"} {
		d.said[r] = append(d.said[r], "")
	}
	d.count++
	if _, err := d.people["alice"].SendFile(d.ctx, uuid.NewString(), d.id, name, "application/x-map", d.file); err != nil {
		return err
	}
	if err := d.wait("bob"); err != nil {
		return err
	}
	list, err := d.messages("bob")
	if err != nil {
		return err
	}
	m := list[len(list)-1]
	if len(m.Attachments) != 1 || m.Attachments[0].Name != name {
		return fmt.Errorf("bob sees the attachments %v", m.Attachments)
	}
	got, err := d.people["bob"].File(d.ctx, d.id, m.Seq, 0)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, d.file) {
		return errors.New("bob got another file than alice sent")
	}
	return nil
}

// crash kills both servers while a message is on its way; talk goes on while they are down.
func (d *demo) crash() error {
	if err := d.say("alice", d.text("Did you see that flash?", "alice", "bob")); err != nil {
		return err
	}
	d.KillServers()
	for _, about := range []string{"The lights went out here.", "I keep writing anyway."} {
		if err := d.say("alice", d.text(about, "alice", "bob")); err != nil {
			return err
		}
	}
	if err := d.StartServers(); err != nil {
		return err
	}
	if err := d.say("alice", d.text("Back again.", "alice", "bob")); err != nil {
		return err
	}
	if err := d.wait("bob"); err != nil {
		return err
	}
	d.KillServers()
	if err := d.say("bob", d.text("And dark once more.", "alice", "bob")); err != nil {
		return err
	}
	if err := d.StartServers(); err != nil {
		return err
	}
	return d.wait("alice")
}

func (d *demo) addCarol() error {
	if _, err := d.people["alice"].AddMembers(d.ctx, d.id, d.people["carol"].Handle); err != nil {
		return err
	}
	if err := d.say("alice", d.text("Welcome, carol.", "alice", "bob", "carol")); err != nil {
		return err
	}
	if err := d.wait("carol"); err != nil {
		return err
	}
	if err := d.wait("bob"); err != nil {
		return err
	}
	if err := d.say("bob", d.text("Hello carol, bob here.", "alice", "bob", "carol")); err != nil {
		return err
	}
	if err := d.wait("alice"); err != nil {
		return err
	}
	return d.wait("carol")
}

func (d *demo) removeBob() error {
	if _, err := d.people["alice"].RemoveMember(d.ctx, d.id, d.people["bob"].Handle); err != nil {
		return err
	}
	if err := d.say("alice", d.text("Bob must not know this.", "alice", "carol")); err != nil {
		return err
	}
	if err := d.wait("carol"); err != nil {
		return err
	}
	if err := d.say("carol", d.text("He will not.", "alice", "carol")); err != nil {
		return err
	}
	if err := d.wait("alice"); err != nil {
		return err
	}
	return d.until("bob has not learned that he was removed", func() (bool, error) {
		c, err := d.people["bob"].Conversation(d.ctx, d.id)
		return c.State == "left", err
	})
}

// compare looks at what everybody has in the end.
func (d *demo) compare() error {
	for _, p := range d.People() {
		list, err := d.messages(p.Name)
		if err != nil {
			return err
		}
		var texts []string
		for _, m := range list {
			texts = append(texts, m.Text)
			if m.Mine && m.State != "sent" {
				return fmt.Errorf("%s's message %d is %s", p.Name, m.Seq, m.State)
			}
		}
		if !slices.Equal(texts, d.said[p.Name]) {
			return fmt.Errorf("%s has %d messages, expected %d: %q and not %q", p.Name, len(texts), len(d.said[p.Name]), texts, d.said[p.Name])
		}
	}
	return nil
}

// search stops the servers and reads all that they had.
func (d *demo) search() error {
	for _, b := range d.boxes {
		if err := b.stop(); err != nil {
			return err
		}
	}
	var ns []needle
	for what, secret := range d.secret {
		ns = append(ns, needles(what, secret)...)
	}
	ns = append(ns, fileNeedles("the file", d.file)...)
	servers := filepath.Join(d.dir, "servers")
	found, files, size, err := search(ns, servers)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return fmt.Errorf("%d findings; the first: %q as %s in %s", len(found), found[0].what, found[0].spelling, found[0].file)
	}
	// What the servers must know is there, or the search would have read the wrong files.
	for _, known := range []string{d.people["bob"].Handle[1:4], d.id} {
		if found, _, _, err := search(needles("control", []byte(known)), servers); err != nil || len(found) == 0 {
			return errors.Join(fmt.Errorf("the search does not even find %q", known), err)
		}
	}
	_, err = fmt.Fprintf(d.out, "    read %d files, %.1f MiB, for %d plaintexts in %d spellings\n", files, float64(size)/(1<<20), len(d.secret)+1, len(ns))
	return err
}

func (d *demo) messages(name string) ([]client.Message, error) {
	page, err := d.people[name].Messages(d.ctx, d.id, 0, client.MaxPage)
	return page.Messages, err
}

// wait until somebody has as many messages as they are to have.
func (d *demo) wait(name string) error {
	want := len(d.said[name])
	return d.until(fmt.Sprintf("%s has not got %d messages", name, want), func() (bool, error) {
		list, err := d.messages(name)
		var p *problem.Problem
		if errors.As(err, &p) && p.Code == "no_such_conversation" {
			return false, nil // it has not reached them yet
		}
		return len(list) >= want, err
	})
}

func (d *demo) until(otherwise string, f func() (bool, error)) error {
	deadline := time.Now().Add(patience)
	for {
		ok, err := f()
		if ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s after %v", otherwise, patience)
		}
		select {
		case <-time.After(pause):
		case <-d.ctx.Done():
			return d.ctx.Err()
		}
	}
}
