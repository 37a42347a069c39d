package device

import (
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
)

// Members tell each other with every message what they know of the logs that the keys of the conversation come from
// (spec/gossip.md). A log that shows two of them two histories has to keep up two worlds that never write to each other.
//
// Only a log's own signature can cost it our trust. What a member says costs it a proof, which an honest log has.

const (
	bucketStanding = "standing" // by instance: what gossip needs of its log
	bucketGossip   = "gossip"   // by instance, actor and what: how often it was done lately
)

// standing is how a log stands with us. It is small, for it is read with each message.
type standing struct {
	Origin string    `json:"origin"`
	Size   int64     `json:"size"`
	Root   tlog.Hash `json:"root"`
	Proven []point   `json:"proven,omitempty"` // smaller trees that the log has proven to be in this one, the oldest first
	Doubt  *claim    `json:"doubt,omitempty"`  // what it has not proven
	Split  bool      `json:"split,omitempty"`
}

type point struct {
	Size int64     `json:"size"`
	Root tlog.Hash `json:"root"`
}

// A claim is what somebody says that a log has shown them.
type claim struct {
	point
	Note         []byte `json:"note,omitempty"`  // where the log signed it; nil: it is a member's word
	Actor        string `json:"actor,omitempty"` // whose; none: the log showed it to us
	Conversation string `json:"conversation,omitempty"`
}

func (w standing) head() point { return point{w.Size, w.Root} }

func (w standing) knows(p point) bool { return p == w.head() || slices.Contains(w.Proven, p) }

// remember p as proven.
func (w *standing) remember(p point) {
	if p.Size == 0 || w.knows(p) {
		return
	}
	w.Proven = append(w.Proven[max(0, len(w.Proven)+1-maxProven):], p)
}

func (t *txn) standing(instance string) (w standing, err error) {
	_, err = t.row(bucketStanding, instance, &w)
	return w, err
}

func (t *txn) putStanding(instance string, w standing) error {
	return t.putRow(bucketStanding, instance, w)
}

// follows moves it on to a checkpoint that continues the one before.
func (t *txn) follows(instance string, log transparency.Log) error {
	w, err := t.standing(instance)
	if err != nil {
		return err
	}
	before := w.head()
	if before == (point{log.Size, log.Root}) && w.Origin == log.Origin {
		return nil
	}
	w.Origin, w.Size, w.Root = log.Origin, log.Size, log.Root
	w.remember(before)
	return t.putStanding(instance, w)
}

// instances of a conversation's members: the own first, then the others in ascending order.
func (c *conversation) instances(self string) []string {
	var all []string
	for _, m := range c.Members {
		if instance, err := instanceOf(m.Actor); err == nil {
			all = append(all, instance)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if own, err := instanceOf(self); err == nil {
		all = append([]string{own}, slices.DeleteFunc(all, func(i string) bool { return i == own })...)
	}
	return all
}

// sightings are what goes with the next message. If there are more logs than it can carry, the own is always among them, and the
// others take turns.
func (t *txn) sightings(c *conversation, self string) (seen []transparency.Sighting, err error) {
	all := c.instances(self)
	if others := all[1:]; len(all) > maxSightings {
		at := c.Sighted % len(others)
		c.Sighted = at + maxSightings - 1
		turn := append(slices.Clone(others[at:]), others[:at]...)
		all = append(all[:1:1], turn[:maxSightings-1]...)
	}
	for _, instance := range all {
		w, err := t.standing(instance)
		if err != nil {
			return nil, err
		}
		if w.Size > 0 {
			seen = append(seen, transparency.Sighting{Origin: transparency.OriginHash(w.Origin), Size: w.Size, Root: w.Root})
		}
	}
	return seen, nil
}

// sighted is G6 to G8: what a member has seen is held against what is known here.
func (t *txn) sighted(c *conversation, from string, seen []transparency.Sighting) error {
	if len(seen) == 0 {
		return nil
	}
	for _, instance := range c.instances(from) {
		w, err := t.standing(instance)
		if err != nil {
			return err
		}
		if w.Size == 0 {
			continue
		}
		name := transparency.OriginHash(w.Origin)
		for _, s := range seen {
			p := point{s.Size, s.Root}
			if s.Origin != name || w.knows(p) {
				continue
			}
			if err := t.claimed(c, instance, claim{point: p, Actor: from, Conversation: c.id}); err != nil {
				return err
			}
		}
	}
	return nil
}

// claimed takes up a claim that is not known to be true. c is nil where no member made it.
func (t *txn) claimed(c *conversation, instance string, x claim) error {
	w, err := t.standing(instance)
	if err != nil || w.Split || w.Doubt != nil && x.Note == nil {
		return err
	}
	if ok, err := t.count(instance+" "+x.Actor, maxClaims); err != nil || !ok {
		return err
	}
	if x.Size == w.Size {
		return t.contradiction(c, instance, x, tlog.Hash{}, nil)
	}
	return t.ask(instance, x)
}

// ask writes down the job that asks a log about a claim. There is one at a time for each log: what is dropped here comes again with
// the next message. What the log signed comes before what somebody says.
func (t *txn) ask(instance string, x claim) error {
	open, err := t.hasJob(func(j Job) bool {
		p, ok := j.(*ProofJob)
		return ok && p.Instance == instance && (p.Claim.Note != nil || x.Note == nil)
	})
	if err != nil || open {
		return err
	}
	if err := t.dropProofs(instance); err != nil {
		return err
	}
	return t.addJob(&ProofJob{Instance: instance, Size: x.Size, Claim: x})
}

func (t *txn) dropProofs(instance string) error {
	return t.dropJobs(func(j Job) bool {
		p, ok := j.(*ProofJob)
		return ok && p.Instance == instance
	})
}

// A tally is how often something was done since a time.
type tally struct {
	Since time.Time `json:"since"`
	Times int       `json:"times"`
}

// count tells whether something may be done once more, at most so many times in a gossipDay.
func (t *txn) count(key string, most int) (bool, error) {
	var n tally
	if _, err := t.row(bucketGossip, key, &n); err != nil {
		return false, err
	}
	if t.now.Sub(n.Since) >= gossipDay || n.Since.After(t.now) {
		n = tally{Since: t.now}
	}
	if n.Times++; n.Times > most {
		return false, nil
	}
	return true, t.putRow(bucketGossip, key, n)
}

// contradiction: the log's own word here and a claim cannot both be true. Signed, the two are evidence. If it is a member's word, what
// they were shown is asked for, and what was shown here goes to them.
func (t *txn) contradiction(c *conversation, instance string, x claim, root tlog.Hash, proof []tlog.Hash) error {
	if x.Note == nil {
		return t.differs(c, instance, x)
	}
	log, _, err := t.log(instance)
	if err != nil {
		return err
	}
	e, err := transparency.FindEvidence(log.Key, x.Note, log.Note, root, proof)
	if err != nil { // a note that is lost here, say: nobody else would be convinced, and we are
		return t.doubt(instance, x)
	}
	if err := t.split(instance, e); err != nil || c == nil {
		return err
	}
	return t.queueShow(c, step{Log: instance, Evidence: true})
}

// differs tells the person what a member says, and that member what was shown here. Once in a gossipDay for each
// of them.
func (t *txn) differs(c *conversation, instance string, x claim) error {
	if c == nil {
		return nil
	}
	ok, err := t.show(c, instance, x.Actor, true)
	if err != nil || !ok {
		return err
	}
	return t.emit(Event{
		Type: EventLogDiffers, Conversation: c.id, Actor: x.Actor, Log: hostOf(instance),
		Detail: "the log of " + hostOf(instance) + " has shown somebody another history than this device, or they say so; its signature on it is asked for",
	})
}

func hostOf(instance string) string {
	_, host, _ := strings.Cut(instance, "://")
	return host
}
