package transparency

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const maxNote = 16 << 10 // bytes of a signed checkpoint, with room for cosignatures

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
	if len(signed) > maxNote {
		return Checkpoint{}, Failed("A1", "checkpoint of %d bytes", len(signed))
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		return Checkpoint{}, Failed("A1", "%v", err)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return Checkpoint{}, Failed("A1", "checkpoint of %d lines", len(lines)-1)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || size > maxTree {
		return Checkpoint{}, Failed("A1", "size %.30q", lines[1])
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Checkpoint{}, Failed("A1", "root hash")
	}
	c := Checkpoint{lines[0], size, tlog.Hash(root)}
	if c.Origin != v.Name() {
		return Checkpoint{}, Failed("A1", "origin %q, want %q", c.Origin, v.Name())
	}
	if !bytes.Equal([]byte(c.text()), []byte(n.Text)) {
		return Checkpoint{}, Failed("A1", "the checkpoint is not in its canonical spelling")
	}
	return c, nil
}
