package device

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	ap "github.com/go-ap/activitypub"
	"github.com/go-ap/jsonld"

	"github.com/waxwing-dm/waxwing/mls"
	"github.com/waxwing-dm/waxwing/transparency"
)

// What one device shows the others of a log, when a sighting does not fit, or of a hub: in application data like a message, and for no eye.

const (
	typeCheckpoint = "waxwing:Checkpoint"
	typeEvidence   = "waxwing:LogEvidence"
	typeUnread     = "waxwing:Unread"
)

// shown is the object of such a Create.
type shown struct {
	Type         string `json:"type"`
	ID           string `json:"id"`
	AttributedTo string `json:"attributedTo"`
	Note         string `json:"note,omitempty"`     // of a checkpoint: the signed note
	Asks         string `json:"asks,omitempty"`     // actor who is to show theirs
	Evidence     string `json:"evidence,omitempty"` // its text
	Unread       []byte `json:"unread,omitempty"`   // SHA-256 of an MLSMessage that came too late
	Claim        []byte `json:"claim,omitempty"`    // receipt.SignedClaim
	Receipt      []byte `json:"receipt,omitempty"`  // of the term that the claim has opened; or alone
}

// isShown tells the types of such objects.
func isShown(kind string) bool {
	switch kind {
	case typeCheckpoint, typeEvidence, typeUnread, typeClaim, typeReceipt, typeHubEvidence, typeLook:
		return true
	}
	return false
}

// ofHub tells objects that speak of the hub's order, and are read where that differs.
func (s shown) ofHub() bool { return s.Type == typeReceipt || s.Type == typeHubEvidence }

// whole tells whether it has what its type says, and nothing else.
func (s shown) whole() bool {
	rest := s
	rest.Type, rest.ID, rest.AttributedTo = "", "", ""
	switch s.Type {
	case typeCheckpoint:
		rest.Note, rest.Asks = "", ""
		return s.Note != "" && rest.empty()
	case typeReceipt:
		rest.Receipt, rest.Asks = nil, ""
		return s.Receipt != nil && rest.empty()
	case typeEvidence, typeHubEvidence:
		rest.Evidence = ""
		return s.Evidence != "" && rest.empty()
	case typeUnread:
		rest.Unread = nil
		return len(s.Unread) == sha256.Size && rest.empty()
	case typeLook:
		rest.Asks = ""
		return s.Asks != "" && rest.empty()
	case typeClaim:
		rest.Claim, rest.Receipt = nil, nil
		return s.Claim != nil && rest.empty()
	}
	return false
}

func (s shown) empty() bool {
	return s.Note == "" && s.Asks == "" && s.Evidence == "" && s.Unread == nil && s.Claim == nil && s.Receipt == nil
}

func (s shown) marshal(salt []byte, activity string) ([]byte, error) {
	create := &ap.Create{ID: ap.IRI(activity), Type: ap.CreateType, Actor: ap.IRI(s.AttributedTo), Object: &ap.Object{Type: ap.ObjectType}}
	plain, err := jsonld.WithContext(jsonld.IRI(ap.ActivityBaseURI)).Marshal(create)
	if err != nil {
		return nil, fmt.Errorf("device: writing a checkpoint: %w", err)
	}
	object := map[string]any{"type": s.Type, "id": activity + "#log", "attributedTo": s.AttributedTo}
	for name, value := range map[string]string{"note": s.Note, "asks": s.Asks, "evidence": s.Evidence} {
		if value != "" {
			object[name] = value
		}
	}
	for name, value := range map[string][]byte{"unread": s.Unread, "claim": s.Claim, "receipt": s.Receipt} {
		if value != nil {
			object[name] = value
		}
	}
	return withExtra(plain, map[string]any{"frankingSalt": salt}, object)
}

// parseShown reads the object of a Create into c.
func parseShown(c content, b []byte) (content, error) {
	s := new(shown)
	if err := json.Unmarshal(b, s); err != nil {
		return content{}, fmt.Errorf("device: reading a checkpoint: %w", err)
	}
	switch {
	case s.AttributedTo != c.actor:
		return content{}, errors.New("device: reading a checkpoint: it is attributed to somebody other than the activity's actor")
	case !s.whole():
		return content{}, errors.New("device: reading a checkpoint: not one thing")
	case len(s.Note) > maxShownNote || len(s.Evidence) > maxShownEvidence || len(s.Asks) > maxURL || len(s.Claim) > maxClaim || len(s.Receipt) > maxReceipt:
		return content{}, errors.New("device: reading a checkpoint: too long")
	}
	c.shown = s
	return c, nil
}

// show queues the newest checkpoint of a log for a conversation, because of one of its actors: to ask for theirs, or to answer. For each
// of them once in a gossipDay, so that nobody uses up what another has a right to.
func (t *txn) show(c *conversation, instance, actor string, asks bool) (bool, error) {
	s := step{Log: instance}
	if asks {
		s.Asks = actor
	}
	if ok, err := t.count(fmt.Sprintf("%s %s %t %s", instance, c.id, asks, actor), 1); err != nil || !ok {
		return false, err
	}
	return true, t.queueShow(c, s)
}

func (t *txn) queueShow(c *conversation, s step) error {
	s.Kind, c.queued = stepShow, true
	return t.queue(c.id, s)
}

// workShow encrypts what is to be shown. Where it cannot be sent any more, nobody misses it.
func (t *txn) workShow(c *conversation, s *step) error {
	account, err := t.account()
	if err != nil || c.State == StateLeft {
		return err
	}
	x := shown{Type: typeCheckpoint, AttributedTo: account.Actor, Asks: s.Asks}
	if s.Tell != nil {
		return t.tell(c, account, *s.Tell)
	}
	if s.Evidence {
		var row evidenceRow
		if ok, err := t.row(bucketEvidence, s.Log, &row); err != nil || !ok {
			return err
		}
		x.Type, x.Evidence = typeEvidence, string(row.Text)
	} else {
		log, ok, err := t.log(s.Log)
		if err != nil || !ok {
			return err
		}
		x.Note = string(log.Note)
	}
	if size := len(x.Note) + len(x.Evidence); size == 0 || len(x.Note) > maxShownNote || len(x.Evidence) > maxShownEvidence {
		return nil
	}
	return t.tell(c, account, x)
}

func (t *txn) tell(c *conversation, account Account, x shown) error {
	x.AttributedTo = account.Actor
	_, err := t.dispatch(c, account.Actor, outgoing{Unread: x.Unread}, x.marshal)
	if errors.Is(err, mls.ErrRemoved) {
		return nil
	}
	return err
}

// shown takes what a member shows of a log.
func (t *txn) shown(c *conversation, from string, s *shown) (verdict, error) {
	switch s.Type {
	case typeEvidence:
		return t.evidenceShown(c, s)
	case typeUnread:
		return verdict{status: accepted}, t.sendUnread(c, from, s.Unread)
	case typeClaim:
		return t.claimShown(c, s)
	case typeReceipt:
		return t.receiptShown(c, s)
	case typeHubEvidence:
		return t.hubEvidenceShown(c, s)
	case typeLook:
		return t.lookShown(c, from, s)
	}
	seen, err := transparency.UnverifiedCheckpoint([]byte(s.Note))
	if err != nil {
		return refuse(CodeRejectedForged, "%v", err), nil
	}
	instance, log, err := t.logNamed(c, from, seen.Origin)
	if err != nil || instance == "" {
		return verdict{status: accepted}, err
	}
	if seen, err = log.Open([]byte(s.Note)); err != nil {
		return refuse(CodeRejectedForged, "%v", err), nil
	}
	w, err := t.standing(instance)
	if p := (point{seen.Size, seen.Root}); err == nil && seen.Size > 0 && !w.knows(p) {
		err = t.claimed(c, instance, claim{point: p, Note: []byte(s.Note), Actor: from, Conversation: c.id})
	}
	if err != nil {
		return verdict{}, err
	}
	account, err := t.account()
	if err == nil && s.Asks == account.Actor && !c.queued { // evidence that is queued has our checkpoint in it
		_, err = t.show(c, instance, from, false)
	}
	return verdict{status: accepted}, err
}

func (t *txn) evidenceShown(c *conversation, s *shown) (verdict, error) {
	e, err := transparency.ParseEvidence([]byte(s.Evidence))
	if err != nil {
		return refuse(CodeRejectedForged, "%v", err), nil
	}
	seen, err := transparency.UnverifiedCheckpoint(e.Smaller)
	if err != nil {
		return refuse(CodeRejectedForged, "%v", err), nil
	}
	instance, log, err := t.logNamed(c, s.AttributedTo, seen.Origin)
	if err != nil || instance == "" {
		return verdict{status: accepted}, err
	}
	if _, _, err := e.Verify(log.Key); err != nil {
		return refuse(CodeRejectedForged, "%v", err), nil
	}
	return verdict{status: accepted}, t.split(instance, e)
}

// logNamed finds the log of an origin among those of the members' instances; no instance if it is not there, or nothing was seen of it.
func (t *txn) logNamed(c *conversation, self, origin string) (instance string, log transparency.Log, err error) {
	for _, instance := range c.instances(self) {
		w, err := t.standing(instance)
		if err != nil {
			return "", log, err
		}
		if w.Size > 0 && w.Origin == origin {
			log, _, err = t.log(instance)
			return instance, log, err
		}
	}
	return "", log, nil
}
