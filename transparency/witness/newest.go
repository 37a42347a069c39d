package witness

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/waxwing-dm/waxwing/transparency"
)

// Getter gets, under the limits of a Transport.
type Getter interface {
	Get(ctx context.Context, url string) (status int, answer []byte, err error)
}

// Newest asks a witness for the checkpoint that it cosigned last of a log. It is as the log's own key signed it, or an error; ok is false
// if the witness says that it has none. Whether the witness has signed as well was not looked at: that the log has is enough to
// show what the log has once said.
func (e Endpoint) Newest(ctx context.Context, g Getter, log note.Verifier) (c transparency.Checkpoint, ok bool, err error) {
	id := OriginHash(log.Name())
	status, answer, err := g.Get(ctx, strings.TrimSuffix(e.URL, "/")+"/"+hex.EncodeToString(id[:])+"/checkpoint")
	switch {
	case err != nil:
		return c, false, err
	case status == statusNotFound:
		return c, false, nil
	case status != statusOK:
		return c, false, fmt.Errorf("it answered %d", status)
	case len(answer) > MaxResponse:
		return c, false, fmt.Errorf("an answer of more than %d bytes", MaxResponse)
	}
	if c, err = transparency.OpenCheckpoint(answer, log); err != nil {
		return c, false, errors.New("what it calls this log's newest checkpoint was not signed by this log")
	}
	return c, true, nil
}

// Merge joins the cosignatures of notes of one checkpoint, each of which was verified. Of two by one key the one with the later time
// stays.
func Merge(log note.Verifier, p *transparency.Policy, notes ...[]byte) ([]byte, error) {
	var keys []*transparency.CosignerKey
	for _, w := range p.Witnesses {
		keys = append(keys, w.Key)
	}
	var all []*note.Note
	for _, signed := range notes {
		_, n, err := transparency.OpenCosigned(signed, []note.Verifier{log}, keys)
		if err != nil {
			return nil, fmt.Errorf("witness: joining cosignatures: %w", err)
		}
		if all = append(all, n); n.Text != all[0].Text {
			return nil, errors.New("witness: joining cosignatures: the notes are of two checkpoints")
		}
	}
	joined := &note.Note{Text: all[0].Text, Sigs: slices.DeleteFunc(slices.Clone(all[0].Sigs), func(s note.Signature) bool {
		return s.Name != log.Name() || s.Hash != log.KeyHash()
	})}
	for _, k := range keys {
		if s, ok := latest(k, all); ok {
			joined.Sigs = append(joined.Sigs, s)
		}
	}
	signed, err := note.Sign(joined)
	if err != nil {
		return nil, fmt.Errorf("witness: joining cosignatures: %w", err)
	}
	return signed, nil
}

// latest signature of a key in any of the notes.
func latest(k *transparency.CosignerKey, notes []*note.Note) (newest note.Signature, ok bool) {
	last := int64(-1)
	for _, n := range notes {
		at, signed := k.Time(n)
		if !signed || at <= last {
			continue
		}
		i := slices.IndexFunc(n.Sigs, func(s note.Signature) bool { return s.Name == k.Name() && s.Hash == k.KeyHash() })
		newest, last, ok = n.Sigs[i], at, true
	}
	return newest, ok
}
