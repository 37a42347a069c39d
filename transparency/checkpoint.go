package transparency

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// MaxNote is the most bytes a signed checkpoint may have: room for sixteen ML-DSA-44 cosignatures and a little more, since
// C2SP signed-note wants sixteen signatures accepted.
const MaxNote = 64 << 10

// maxTree is the largest tree whose proofs can be computed in 63 bits: above it the arithmetic of package tlog does not end.
const maxTree = 1 << 62

// Checkpoint is a log's statement of its size and root (C2SP tlog-checkpoint).
type Checkpoint struct {
	Origin string
	Size   int64
	Root   tlog.Hash
}

func (c Checkpoint) text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// parseCheckpoint reads a note's text: three lines in the one spelling they have. Extension lines are refused, for an ML-DSA-44
// cosignature does not cover them.
func parseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return Checkpoint{}, fmt.Errorf("checkpoint of %d lines", len(lines)-1)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || size > maxTree {
		return Checkpoint{}, fmt.Errorf("size %.30q", lines[1])
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Checkpoint{}, errors.New("root hash")
	}
	c := Checkpoint{lines[0], size, tlog.Hash(root)}
	if c.Origin == "" {
		return Checkpoint{}, errors.New("no origin")
	}
	if c.text() != text {
		return Checkpoint{}, errors.New("the checkpoint is not in its canonical spelling")
	}
	return c, nil
}

// SignCheckpoint gives the signed note. Persist it before it leaves: two of one size must never be signed.
func SignCheckpoint(c Checkpoint, signer note.Signer) ([]byte, error) {
	b, err := note.Sign(&note.Note{Text: c.text()}, signer)
	if err != nil {
		return nil, fmt.Errorf("transparency: signing the checkpoint of size %d: %w", c.Size, err)
	}
	return b, nil
}

// OpenCheckpoint is check A1: a note of that verifier's origin, without extension lines, in the one spelling it has.
func OpenCheckpoint(signed []byte, v note.Verifier) (Checkpoint, error) {
	c, _, err := OpenCosigned(signed, []note.Verifier{v}, nil)
	return c, err
}

// OpenCosigned is check A1 for any of several keys of logs. The note it returns has only verified signatures in Sigs: those
// of logs and those of cosigners. One that is by a known key and does not verify spoils the note (C2SP signed-note).
func OpenCosigned(signed []byte, logs []note.Verifier, cosigners []*CosignerKey) (Checkpoint, *note.Note, error) {
	if len(signed) > MaxNote {
		return Checkpoint{}, nil, Failed("A1", "checkpoint of %d bytes", len(signed))
	}
	known := append([]note.Verifier{}, logs...)
	for _, c := range cosigners {
		known = append(known, c)
	}
	n, err := note.Open(signed, note.VerifierList(known...))
	if err != nil {
		return Checkpoint{}, nil, Failed("A1", "%v", err)
	}
	c, err := parseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, nil, Failed("A1", "%v", err)
	}
	for _, v := range logs {
		if v.Name() == c.Origin && signedBy(n, v) {
			return c, n, nil
		}
	}
	return Checkpoint{}, nil, Failed("A1", "not signed by the log with origin %q", c.Origin)
}

func signedBy(n *note.Note, v note.Verifier) bool {
	for _, s := range n.Sigs {
		if s.Name == v.Name() && s.Hash == v.KeyHash() {
			return true
		}
	}
	return false
}

// UnverifiedCheckpoint reads a signed checkpoint to learn whose it claims to be. No signature was looked at.
func UnverifiedCheckpoint(signed []byte) (Checkpoint, error) {
	if len(signed) > MaxNote {
		return Checkpoint{}, fmt.Errorf("transparency: reading a checkpoint of %d bytes: at most %d", len(signed), MaxNote)
	}
	var unverified *note.UnverifiedNoteError
	if _, err := note.Open(signed, nil); !errors.As(err, &unverified) {
		return Checkpoint{}, fmt.Errorf("transparency: reading a checkpoint: %w", err)
	}
	c, err := parseCheckpoint(unverified.Note.Text)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("transparency: reading a checkpoint: %w", err)
	}
	return c, nil
}
