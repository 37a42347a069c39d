package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
)

// judge checks a directory answer with nothing but what it is given.
type judge struct {
	proof  client.Proof
	saved  bool   // it comes from a file: what it was held against comes from there, too, and its own time counts
	key    string // that the log must have; empty: the one that comes with the answer
	policy []byte
}

// judgement is what came of it: the checks in the order in which they were made, up to the first that failed.
type judgement struct {
	Handle string   `json:"handle"`
	Actor  string   `json:"actor"`
	Proven bool     `json:"proven"`
	Steps  []step   `json:"steps"`
	Notes  []string `json:"notes"`
}

type step struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Text  string `json:"text"`
}

// materials are a proof's parts, read and not yet believed.
type materials struct {
	log    transparency.Log
	known  *keydir.Record
	answer transparency.Answer
	terms  transparency.Terms
}

// run makes the checks. Its error is for what cannot be checked at all.
func (j judge) run() (judgement, error) {
	m, err := j.read()
	if err != nil {
		return judgement{}, err
	}
	_, record, _, failed := keydir.Verify(m.log, m.known, j.proof.Actor, m.answer, m.terms)
	var check *transparency.CheckError
	if failed != nil && !errors.As(failed, &check) {
		return judgement{}, failed
	}
	out := judgement{Handle: j.proof.Handle, Actor: j.proof.Actor, Proven: failed == nil, Notes: j.notes(m)}
	for _, s := range m.steps(record) {
		if check != nil && s.Check == stage(check.Check) {
			break
		}
		out.Steps = append(out.Steps, s)
	}
	if check != nil {
		out.Steps = append(out.Steps, step{stage(check.Check), false, fmt.Sprintf("%s (%s)", check.Reason, check.Check)})
	}
	return out, nil
}

// stage is where a check stands in the order: what a statement and its content must be is A7.
func stage(check string) string {
	if strings.HasPrefix(check, "L") {
		return "A7"
	}
	return check
}

func (j judge) read() (m materials, err error) {
	p := j.proof
	actor, err := url.Parse(p.Actor)
	if err != nil || actor.Host == "" {
		return m, fmt.Errorf("%q is not an actor", p.Actor)
	}
	key := p.Key
	if j.key != "" {
		key = j.key
	}
	if m.log, err = transparency.Pin(actor.Host, p.Origin, key, p.VRF); err != nil {
		return m, err
	}
	if p.Size > 0 && len(p.Root) == tlog.HashSize {
		m.log.Size, m.log.Root, m.log.Note = p.Size, tlog.Hash(p.Root), p.Note
	}
	if len(p.Record) > 0 {
		r, err := keydir.ParseRecord(p.Record)
		if err != nil {
			return m, err
		}
		m.known = &r
	}
	m.terms = transparency.Terms{Own: p.Own, Now: time.Now().Unix()}
	if j.saved {
		m.terms.Now = p.Time.Unix()
	}
	if j.policy != nil {
		if m.terms.Policy, err = transparency.ParsePolicy(j.policy); err != nil {
			return m, err
		}
	}
	m.answer, err = transparency.ParseAnswer(p.Answer)
	return m, err
}

// steps are the checks in their order and what each of them shows, if it holds.
func (m materials) steps(record *keydir.Record) []step {
	next, _, _ := m.log.Advance(m.answer.Checkpoint, m.answer.Consistency, transparency.Terms{})
	host := transparency.Domain(m.log.Origin)
	s := []step{
		{"A1", true, fmt.Sprintf("the checkpoint is signed with the log key of %s: %d entries, root %x…", host, next.Size, next.Root[:8])},
		{"A2", true, "no checkpoint of this log was known before, so there is nothing that it could contradict"},
		{"A3", true, fmt.Sprintf("the entry that comes with it is the log's newest, number %d", next.Size-1)},
		{"A4", true, "that entry can be read, and has the root of the map from people to their newest statement"},
		{"A5", true, "the label in the map is this person's, and can be no other"},
		{"A6", true, "the map has nothing for it: this person has no keys"},
	}
	if m.log.Size > 0 {
		s[1].Text = fmt.Sprintf("it continues the %d entries that were known before, and has changed none of them", m.log.Size)
	}
	if m.answer.Found != nil {
		s[5].Text = "the map has the statement that comes with the answer for it: there is no newer one"
	}
	if m.terms.Policy != nil {
		s = append(s, step{"W13", true, "enough of your witnesses have signed the same checkpoint"}, step{"W14", true, "they did so lately"})
	}
	if m.answer.Found == nil {
		return append(s, step{"A8", true, "no keys of this person were known before"})
	}
	return append(s, m.aboutTheList(record)...)
}

func (m materials) aboutTheList(record *keydir.Record) []step {
	list, before := "the list of devices is the one that the account has signed", "nothing was known of this person before"
	if record != nil {
		var ids []string
		for _, d := range record.List.Devices {
			ids = append(ids, d.ID())
		}
		list += fmt.Sprintf(" (change %d, last reset %d): %s", record.Statement.Seq, record.Statement.LastReset, strings.Join(ids, ", "))
	}
	if m.known != nil {
		before = fmt.Sprintf("it is of one history with what was known before (change %d)", m.known.Statement.Seq)
		if record != nil && record.Reset {
			before += "; the keys were RESET since, so ask them by another way"
		}
	}
	return []step{{"A7", true, list}, {"A8", true, before}}
}

// notes are what the checks do not say.
func (j judge) notes(m materials) []string {
	notes := []string{}
	if m.terms.Policy == nil {
		notes = append(notes, fmt.Sprintf("no witness was asked for: %s could be showing you another log than it shows others; a policy file says whom to ask (--witnesses)",
			transparency.Domain(m.log.Origin)))
	}
	if j.saved {
		notes = append(notes, "the answer is judged as of "+moment(&j.proof.Time)+", when the file says it was fetched; there may be a newer one now")
		if j.key == "" {
			notes = append(notes, "the log's key comes from the same file: whoever made the file could have made the key; give --key")
		}
	}
	return notes
}

func (r judgement) print(w io.Writer) error {
	p := &printer{w: w}
	p.line("%s  %s", plain(r.Handle), plain(r.Actor))
	for _, s := range r.Steps {
		mark := "ok  "
		if !s.OK {
			mark = "FAIL"
		}
		p.line("  %s %-3s  %s", mark, s.Check, plain(s.Text))
	}
	if r.Proven {
		p.line("  proven; the numbers are those of spec/log-entry.md and spec/witness.md")
	}
	for _, n := range r.Notes {
		p.line("  note: %s", plain(n))
	}
	return p.err
}
