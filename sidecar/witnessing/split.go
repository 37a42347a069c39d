package witnessing

import (
	"context"
	"encoding/hex"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/witness"
)

// Split is a log that has signed two trees of one size, one of which was cosigned here.
type Split struct {
	Origin   string `json:"origin"`
	Evidence string `json:"evidence"` // which anybody can check, spec/gossip.md
	Since    int64  `json:"since"`    // seconds
}

// Seen is what was cosigned last of an instance's log, to be told to others; false if nothing was.
func (w *Witnessing) Seen(ctx context.Context, instance string) (transparency.Sighting, bool) {
	for _, a := range w.allAudits() {
		if a.log.instance != instance {
			continue
		}
		s, ok, err := w.store.State(ctx, witness.OriginHash(a.log.Origin))
		if err != nil || !ok || s.Size == 0 {
			return transparency.Sighting{}, false
		}
		return transparency.Sighting{Origin: a.id, Size: s.Size, Root: s.Root}, true
	}
	return transparency.Sighting{}, false
}

// Heard takes what an instance says that it has seen of a log, without a signature. If that contradicts what was cosigned here, the
// instance's own witness and the log itself are asked in the background for the checkpoint: only what the log has signed convicts it.
func (w *Witnessing) Heard(ctx context.Context, instance string, said transparency.Sighting) {
	for _, a := range w.allAudits() {
		if a.id != said.Origin {
			continue
		}
		ours, ok, err := w.store.State(ctx, witness.OriginHash(a.log.Origin))
		if err != nil || !ok || ours.Size != said.Size || ours.Root == said.Root {
			continue
		}
		w.log.Error("an instance says that it has seen another history of a log than was cosigned here", "instance", instance, "log", ours.Origin, "size", said.Size)
		w.ask(instance, a.log, ours)
	}
}

// ask looks for the checkpoint that contradicts ours.
func (w *Witnessing) ask(instance string, log pinned, ours witness.State) {
	ctx, done, ok := w.begin()
	if !ok {
		return
	}
	hash := witness.OriginHash(log.Origin)
	urls := []string{instance + Path + "/" + hex.EncodeToString(hash[:]) + "/checkpoint", log.url + "checkpoint"}
	if !w.meet("split " + log.Origin) { // once in six hours
		done()
		return
	}
	go func() {
		defer done()
		ctx, cancel := context.WithTimeout(ctx, discoverTime)
		defer cancel()
		var err error
		for _, u := range urls {
			var signed []byte
			if signed, err = w.get(ctx, u, transparency.MaxNote); err == nil {
				w.compare(ctx, log, ours, signed)
			}
		}
		w.met("split "+log.Origin, err)
	}()
}

// contradicted looks at a checkpoint that was refused to be cosigned.
func (w *Witnessing) contradicted(ctx context.Context, log pinned, checkpoint []byte) {
	if ours, ok, err := w.store.State(ctx, witness.OriginHash(log.Origin)); err == nil && ok {
		w.compare(ctx, log, ours, checkpoint)
	}
}

// compare keeps the evidence, and says so, if a checkpoint that the log has signed is of the size of ours and has another root.
func (w *Witnessing) compare(ctx context.Context, log pinned, ours witness.State, signed []byte) {
	c, err := log.Open(signed)
	if err != nil || c.Size != ours.Size || c.Root == ours.Root {
		return
	}
	theirs, err := ownLines(signed, log.Key)
	if err != nil {
		return
	}
	e, err := transparency.FindEvidence(log.Key, ours.Note, theirs, c.Root, nil)
	if err != nil {
		return
	}
	fresh, err := w.store.split(ctx, log.id, e.Marshal(), w.now().Unix())
	switch {
	case err != nil:
		w.log.Error("keeping the evidence against a log", "log", log.Origin, "error", err)
	case fresh:
		w.log.Error("A LOG HAS SIGNED TWO HISTORIES: the evidence is kept and shown", "log", log.Origin, "size", c.Size)
	}
}

// ownLines leaves only the log's own signature under a note.
func ownLines(signed []byte, key string) ([]byte, error) {
	v, err := note.NewVerifier(key)
	if err != nil {
		return nil, fmt.Errorf("witnessing: key of a log: %w", err)
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		return nil, fmt.Errorf("witnessing: reading a checkpoint: %w", err)
	}
	return note.Sign(&note.Note{Text: n.Text, Sigs: n.Sigs})
}
